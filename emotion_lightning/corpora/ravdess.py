"""RAVDESS, the speech part, audio only: 24 North American actors × 60 clips, eight emotions, 48 kHz.

Livingstone & Russo 2018, doi:10.1371/journal.pone.0196391. A name is seven numbers, modality-channel-emotion-
intensity-sentence-take-actor: 03-01-06-01-02-01-12.wav is audio only, speech, fearful, normal, "dogs", first, actor 12.
The outer folder (Audio_Speech_Actors_01-24) is optional.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emotion_lightning.corpora import EMOTIONS, VIDEO, About, Archive, Clip, Refused, media_files

EMOTION = dict(zip(("01", "02", "03", "04", "05", "06", "07", "08"), EMOTIONS[:8], strict=True))
SENTENCE = {"01": "kids", "02": "dogs"}  # "Kids are talking by the door." / "Dogs are sitting by the door."
NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
SEVEN_NUMBERS = re.compile(r"\d\d(-\d\d){6}")  # one of them is out of its range

ABOUT = About(
    title="RAVDESS",
    licence="CC BY-NC-SA 4.0",
    citation="Livingstone & Russo 2018, doi:10.1371/journal.pone.0196391",
    how_to_get="Zenodo record 1188976, Audio_Speech_Actors_01-24.zip",
    official={
        (f"ravdess-{actor:02}", e): 4 if e == "neutral" else 8 for actor in range(1, 25) for e in EMOTION.values()
    },
    archive=Archive(
        url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
        md5="bc696df654c87fed845eb13823edef8a",
        size=208_468_073,
    ),
)


def read(folder: Path) -> Iterator[Clip | Refused]:
    """Yields the clips below a folder."""
    for path in media_files(folder):
        if not (match := NAME.fullmatch(path.stem)):
            if NAME.search(path.stem):
                yield Refused(path, "copies, an official RAVDESS name with something added to it")
            elif path.parent.name.lower().startswith("actor_") or SEVEN_NUMBERS.fullmatch(path.stem):
                yield Refused(path, "no RAVDESS name (seven two-digit numbers)")
            continue
        modality, channel, emotion, intensity, sentence, take, actor = match.groups()
        if path.suffix.lower() in VIDEO or modality != "03":
            yield Refused(path, "video (01-… and 02-…)")
        elif channel == "02":
            yield Refused(path, "song (03-02-…)")
        else:
            yield Clip(
                id=path.stem,
                path=path,
                corpus="ravdess",
                emotion=EMOTION[emotion],
                speaker=f"ravdess-{actor}",
                sex="male" if int(actor) % 2 else "female",
                sentence=SENTENCE[sentence],
                intensity="normal" if intensity == "01" else "strong",
                take=take,
            )

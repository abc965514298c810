"""EMOVO: six Italian actors (f1 to f3, m1 to m3) × 14 sentences × seven emotions = 588 clips, 48 kHz.

Costantini et al. 2014, LREC, https://aclanthology.org/L14-1478. A name is emotion-speaker-sentence: dis-f1-b1.wav. Sentences
are short (b), long (l), nonsense (n) or questions (d): b1 to b3, l1 to l4, n1 to n5 and d1, d2. Some descriptions have p1
where the files have d2, so p1 is read too. The official folders are EMOVO/f1 to EMOVO/m3.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emotion_lightning.corpora import VIDEO, About, Clip, Refused, media_files, misnamed

EMOTION = {
    "neu": "neutral", "gio": "happy", "tri": "sad", "rab": "angry", "pau": "fearful", "dis": "disgust",
    "sor": "surprised",
}  # fmt: skip
SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
NAME = re.compile(r"(neu|gio|tri|rab|pau|dis|sor)-([fm][1-3])-(b[1-3]|l[1-4]|n[1-5]|d[12]|p1)", re.IGNORECASE)

ABOUT = About(
    title="EMOVO",
    licence="non-commercial use with acknowledgement",
    citation="Costantini et al. 2014, LREC, https://aclanthology.org/L14-1478",
    how_to_get=(
        "see http://voice.fub.it/activities/corpora/emovo/index.html or ask its authors, and unpack EMOVO into {folder}"
    ),
    official={(f"emovo-{speaker}", e): 14 for speaker in SPEAKERS for e in EMOTION.values()},
)


def read(folder: Path) -> Iterator[Clip | Refused]:
    """Yields the clips below a folder."""
    for path in media_files(folder):
        if not (match := NAME.fullmatch(path.stem)):
            yield from misnamed(path, NAME, "EMOVO", path.parent.name.lower() in (*SPEAKERS, "emovo"))
            continue
        if path.suffix.lower() in VIDEO:
            yield Refused(path, "video")
            continue
        emotion, speaker, sentence = match.group().lower().split("-")
        yield Clip(
            id=f"{emotion}-{speaker}-{sentence}",
            path=path,
            corpus="emovo",
            emotion=EMOTION[emotion],
            speaker=f"emovo-{speaker}",
            sex="female" if speaker.startswith("f") else "male",
            sentence=sentence,
        )

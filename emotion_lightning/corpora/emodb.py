"""EMO-DB: ten Berlin actors, ten sentences, seven emotions, 535 clips whose emotion raters recognised, German, 16 kHz.

Burkhardt et al. 2005, doi:10.21437/Interspeech.2005-446. A name is speaker, text, emotion and version: 03a01Fa.wav. The
emotion's letter is that of the German word: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral. Boredom (Langeweile)
is a class of its own, `bored`, because no emotion of the other corpora is similar. The official folder is wav.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emotion_lightning.corpora import VIDEO, About, Clip, Refused, media_files, misnamed

EMOTION = {
    "N": "neutral", "F": "happy", "T": "sad", "W": "angry", "A": "fearful", "E": "disgust", "L": "bored",
}  # fmt: skip
COUNTS = {  # clips of the speaker in the order of EMOTION
    "03": (11, 7, 7, 14, 4, 1, 5), "08": (10, 11, 9, 12, 6, 0, 10), "09": (9, 4, 4, 13, 1, 8, 4),
    "10": (4, 4, 3, 10, 8, 1, 8), "11": (9, 8, 7, 11, 10, 2, 8), "12": (4, 2, 4, 12, 6, 2, 5),
    "13": (9, 10, 5, 12, 7, 8, 10), "14": (7, 8, 10, 16, 12, 8, 8), "15": (11, 6, 4, 13, 8, 5, 9),
    "16": (5, 11, 9, 14, 7, 11, 14),
}  # fmt: skip
WOMEN = ("08", "09", "13", "14", "16")
NAME = re.compile(r"(03|08|09|1[0-6])(a0[12457]|b0[1239]|b10)([NFTWAEL])([a-f])", re.IGNORECASE)

ABOUT = About(
    title="EMO-DB",
    licence="free to use, no licence text at its source",
    citation="Burkhardt et al. 2005, doi:10.21437/Interspeech.2005-446",
    how_to_get="unpack http://emodb.bilderbar.info/download/download.zip into {folder}",
    official={
        (f"emodb-{speaker}", emotion): count
        for speaker, counts in COUNTS.items()
        for emotion, count in zip(EMOTION.values(), counts, strict=True)
        if count
    },
)


def read(folder: Path) -> Iterator[Clip | Refused]:
    """Yields the clips below a folder."""
    for path in media_files(folder):
        if not (match := NAME.fullmatch(path.stem)):
            yield from misnamed(path, NAME, "EMO-DB", _is_own_folder(path.parent))
            continue
        if path.suffix.lower() in VIDEO:
            yield Refused(path, "video")
            continue
        speaker, text, letter, version = match.groups()
        text, letter, version = text.lower(), letter.upper(), version.lower()
        yield Clip(
            id=f"{speaker}{text}{letter}{version}",
            path=path,
            corpus="emodb",
            emotion=EMOTION[letter],
            speaker=f"emodb-{speaker}",
            sex="female" if speaker in WOMEN else "male",
            sentence=text,
            take=version,
        )


def _is_own_folder(parent: Path) -> bool:
    """Returns whether a folder belongs to EMO-DB. The folder dialog/wav is IEMOCAP's."""
    name = parent.name.lower()
    return name in ("emodb", "emo-db") or (name == "wav" and parent.parent.name.lower() != "dialog")

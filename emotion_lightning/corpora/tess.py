"""TESS: two women of Toronto (OAF, 64 years, and YAF, 26) × 200 words × seven emotions = 2800 clips, English, 24.4 kHz.

Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF. A name is speaker_word_emotion: in OAF_back_angry.wav, the sentence is
"Say the word back". `ps` is pleasant surprise. It is mapped to surprised, which may also be unpleasant in other corpora. One
official file lacks a letter (OA_bite_neutral.wav). Folder names vary (OAF_Fear, YAF_pleasant_surprised) and are not needed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emotion_lightning.corpora import VIDEO, About, Clip, Refused, media_files, misnamed

EMOTION = {
    "angry": "angry", "disgust": "disgust", "fear": "fearful", "happy": "happy", "neutral": "neutral",
    "ps": "surprised", "sad": "sad",
}  # fmt: skip
NAME = re.compile(r"(OAF?|YAF)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)", re.IGNORECASE)
HOME = re.compile(r"(OAF|YAF)[_ ].+|TESS\b.*", re.IGNORECASE)

ABOUT = About(
    title="TESS",
    licence="CC BY-NC-ND 4.0",
    citation="Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF",
    how_to_get="download all files from https://doi.org/10.5683/SP2/E8H2MF and unpack them into {folder}",
    official={(f"tess-{speaker}", e): 200 for speaker in ("OAF", "YAF") for e in EMOTION.values()},
)


def read(folder: Path) -> Iterator[Clip | Refused]:
    """Yields the clips below a folder."""
    for path in media_files(folder):
        if not (match := NAME.fullmatch(path.stem)):
            yield from misnamed(path, NAME, "TESS", bool(HOME.fullmatch(path.parent.name)))
            continue
        if path.suffix.lower() in VIDEO:
            yield Refused(path, "video")
            continue
        initials, word, emotion = match.groups()
        speaker, word, emotion = f"{initials[0].upper()}AF", word.lower(), emotion.lower()
        yield Clip(
            id=f"{speaker}_{word}_{emotion}",
            path=path,
            corpus="tess",
            emotion=EMOTION[emotion],
            speaker=f"tess-{speaker}",
            sex="female",
            sentence=word,
        )

"""SAVEE: four male speakers of British English (DC, JE, JK, KL) × 120 clips, seven emotions, 44.1 kHz.

Haq & Jackson, "Multimodal Emotion Recognition", 2010. Two folder layouts exist, and both are read: ALL/DC_a01.wav and
AudioData/DC/a01.wav. In the second one, file names repeat in the four folders, so a clip's id contains the speaker.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emotion_lightning.corpora import VIDEO, About, Clip, Refused, media_files

EMOTION = {"n": "neutral", "h": "happy", "sa": "sad", "a": "angry", "f": "fearful", "d": "disgust", "su": "surprised"}
SPEAKERS = ("DC", "JE", "JK", "KL")
FLAT = re.compile(r"(DC|JE|JK|KL)_(sa|su|[nhafd])(\d\d)", re.IGNORECASE)
NESTED = re.compile(r"(sa|su|[nhafd])(\d\d)", re.IGNORECASE)

ABOUT = About(
    title="SAVEE",
    licence="research only, no redistribution",
    citation="Haq & Jackson 2010, in Machine Audition, IGI Global",
    how_to_get="register at http://kahlan.eps.surrey.ac.uk/savee/ and unpack AudioData (or ALL) into {folder}",
    official={(f"savee-{s}", e): 30 if e == "neutral" else 15 for s in SPEAKERS for e in EMOTION.values()},
)


def read(folder: Path) -> Iterator[Clip | Refused]:
    """Yields the clips below a folder."""
    for path in media_files(folder):
        if match := FLAT.fullmatch(path.stem):
            speaker, code, number = match.groups()
        elif path.parent.name.upper() in SPEAKERS and (match := NESTED.fullmatch(path.stem)):
            speaker, (code, number) = path.parent.name, match.groups()
        else:
            if FLAT.search(path.stem):
                yield Refused(path, "copies, an official SAVEE name with something added to it")
            elif path.parent.name.upper() in (*SPEAKERS, "ALL"):
                yield Refused(path, "no SAVEE name (such as DC_a01 or DC/a01)")
            continue
        if path.suffix.lower() in VIDEO:
            yield Refused(path, "video")
            continue
        speaker, code = speaker.upper(), code.lower()
        yield Clip(
            id=f"{speaker}_{code}{number}",
            path=path,
            corpus="savee",
            emotion=EMOTION[code],
            speaker=f"savee-{speaker}",
            sex="male",
            sentence=f"{code}{number}",  # names do not show which texts occur under several codes
        )

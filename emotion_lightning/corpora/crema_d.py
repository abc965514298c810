"""CREMA-D: 91 actors × 82 clips at most (20 are missing: 7442), twelve sentences, six emotions, English, 16 kHz.

Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244. A name is speaker_sentence_emotion_level: 1001_DFA_ANG_XX.wav. The level
(LO, MD, HI) is given for the sentence IEO only, XX means none; one file of the official repository has a single X. The label
is the emotion that the actor was asked for, not the one that raters perceived. All folders are read; the official one is
AudioWAV.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emotion_lightning.corpora import VIDEO, About, Clip, Refused, media_files, misnamed

EMOTION = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
LEVEL = {"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""}
NAME = re.compile(
    r"(10(?:0[1-9]|[1-8]\d|9[01]))_(DFA|IEO|IOM|ITH|ITS|IWL|IWW|MTI|TAI|TIE|TSI|WSI)"
    r"_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)",
    re.IGNORECASE,
)
SPEAKERS = range(1001, 1092)
WOMEN = {
    *(1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025, 1028, 1029, 1030),
    *(1037, 1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060, 1061, 1063, 1072, 1073, 1074, 1075),
    *(1076, 1078, 1079, 1082, 1084, 1089, 1091),
}  # the official VideoDemographics.csv
ONE_SHORT = {(s, e) for s in (1008, 1009, 1019) for e in EMOTION.values()} | {(1002, "neutral"), (1076, "neutral")}

ABOUT = About(
    title="CREMA-D",
    licence="ODbL 1.0, its contents DbCL 1.0",
    citation="Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244",
    how_to_get=(
        "git clone https://github.com/CheyneyComputerScience/CREMA-D (needs git-lfs) "
        "and put its AudioWAV into {folder}"
    ),
    official={
        (f"crema_d-{s}", e): (12 if e == "neutral" else 14) - ((s, e) in ONE_SHORT)
        for s in SPEAKERS
        for e in EMOTION.values()
    },
)


def read(folder: Path) -> Iterator[Clip | Refused]:
    """Yields the clips below a folder."""
    for path in media_files(folder):
        if not (match := NAME.fullmatch(path.stem)):
            yield from misnamed(path, NAME, "CREMA-D", path.parent.name.lower() in ("audiowav", "crema_d", "crema-d"))
            continue
        if path.suffix.lower() in VIDEO:
            yield Refused(path, "video")
            continue
        speaker, sentence, emotion, level = match.group().upper().split("_")
        yield Clip(
            id=f"{speaker}_{sentence}_{emotion}_{'XX' if level == 'X' else level}",
            path=path,
            corpus="crema_d",
            emotion=EMOTION[emotion],
            speaker=f"crema_d-{speaker}",
            sex="female" if int(speaker) in WOMEN else "male",
            sentence=sentence,
            intensity=LEVEL[level],
        )

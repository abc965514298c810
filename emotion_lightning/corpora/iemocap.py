"""IEMOCAP: ten actors in five sessions of dialogues, 10 039 utterances, improvised or scripted, English, 16 kHz.

Busso et al. 2008, doi:10.1007/s10579-008-9076-6. SessionN/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav is an
utterance of the woman (_F000) of session 1; the F after Ses01 is the speaker who wore the markers. The label is the one that
most raters chose (SessionN/dialog/EmoEvaluation/*.txt). The two usual selections are:

- `emotions=four`: neutral 1708, happy 1636 (excited merged into it), sad 1084, angry 1103; 5531 clips, by session 1085,
  1023, 1151, 1031 and 1241.
- `emotions=six`: excited (1041) separate from happy (595), and frustrated (1849); 7380 clips.

The clips that are left out are counted. The `sentence` of a scripted clip is its whole script (script01_1), because the
turns of a script have other numbers in each recording. The words of improvised clips are not known.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from emotion_lightning.corpora import VIDEO, About, Clip, Refused, media_files, misnamed

EMOTION = {
    "four": {"neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad", "ang": "angry"},
    "six": {"neu": "neutral", "hap": "happy", "exc": "excited", "sad": "sad", "ang": "angry", "fru": "frustrated"},
}
DIALOGUE = r"Ses0[1-5][FM]_(?:impro0\d[ab]?|script0\d_\d[ab]?)"
NAME = re.compile(rf"({DIALOGUE})_([FM])(?:\d\d\d|XX\d)")
LABEL = re.compile(rf"\[[\d.]+ - [\d.]+\]\s+({NAME.pattern})\s+(\w+)")

ABOUT = About(
    title="IEMOCAP",
    licence="research only, by agreement with USC",
    citation="Busso et al. 2008, doi:10.1007/s10579-008-9076-6",
    how_to_get="ask for it at https://sail.usc.edu/iemocap and unpack Session1 to Session5 into {folder}",
)  # no official counts by speaker are known; the label files show which clips are missing


def read(
    folder: Path,
    *,
    emotions: Literal["four", "six"] = "four",
    part: Literal["all", "improvised", "scripted"] = "all",
) -> Iterator[Clip | Refused]:
    """Yields the clips below a folder. `part` selects improvised or scripted dialogues."""
    labels, found = _labels(folder), set[str]()
    for path in media_files(folder):
        if not NAME.fullmatch(path.stem):
            if not re.fullmatch(DIALOGUE, path.stem):  # a whole dialogue, as in dialog/wav and dialog/avi
                yield from misnamed(path, NAME, "IEMOCAP", bool(re.fullmatch(DIALOGUE, path.parent.name)))
        elif path.suffix.lower() in VIDEO:
            yield Refused(path, "video")
        else:
            found.add(path.stem)
            if _wanted(path.stem, part):
                yield _clip(path, labels.get(path.stem), emotions)
    for utterance in sorted(labels.keys() - found):
        if _wanted(utterance, part) and labels[utterance] in EMOTION[emotions]:
            yield Refused(Path(f"{utterance}.wav"), f"labelled but missing, speaker {_speaker(utterance)}")


def _labels(folder: Path) -> dict[str, str]:
    """Returns the label of each utterance. The subfolders of EmoEvaluation, with the labels of single raters, are skipped."""
    labels = {}
    for file in media_files(folder, {".txt"}):
        if file.parent.name.lower() == "emoevaluation":
            for match in LABEL.finditer(file.read_text(encoding="utf-8", errors="replace")):
                labels[match[1]] = match.groups()[-1]
    return labels


def _wanted(utterance: str, part: str) -> bool:
    return part == "all" or ("_impro" in utterance) == (part == "improvised")


def _speaker(utterance: str) -> str:
    """Returns iemocap-Ses01F for Ses01M_impro02_F003. The first M or F is the speaker who wore the markers."""
    return f"iemocap-{utterance[:5]}{NAME.fullmatch(utterance)[2]}"  # type: ignore[index]


def _clip(path: Path, label: str | None, emotions: str) -> Clip | Refused:
    if label is None:
        return Refused(path, "no label in dialog/EmoEvaluation/*.txt")
    if label in ("xxx", "oth"):
        return Refused(path, "no emotion that most raters agreed on")
    if label not in EMOTION[emotions]:
        return Refused(path, f"an emotion that `emotions={emotions}` leaves out")
    script = re.search(r"script\d\d_\d", path.stem)  # a letter after it is a second part of the same script
    speaker = _speaker(path.stem)
    return Clip(
        id=path.stem,
        path=path,
        corpus="iemocap",
        emotion=EMOTION[emotions][label],
        speaker=speaker,
        sex="female" if speaker.endswith("F") else "male",
        sentence=script[0] if script else "",
    )

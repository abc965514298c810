"""IEMOCAP: ten actors in five sessions of dialogues, 10 039 utterances, improvised or scripted, English, 16 kHz.

Busso et al. 2008, doi:10.1007/s10579-008-9076-6. SessionN/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav is an
utterance of the woman (_F000) of session 1; the F behind Ses01 only says who wore the markers. Labels are what most
raters heard (SessionN/dialog/EmoEvaluation/*.txt) and are kept only as far as the literature does:

- `emotions=four`: neutral 1708, happy 1636 (excited merged into it), sad 1084, angry 1103; 5531 clips, by session 1085,
  1023, 1151, 1031 and 1241.
- `emotions=six`: excited (1041) apart from happy (595), and frustrated (1849); 7380 clips.

What is left out is counted. A scripted clip's `sentence` is its script (script01_1): all that may share words with it,
since turns of a script are numbered otherwise in each recording. Improvised words are not known.
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
    how_to_get="ask for it at https://sail.usc.edu/iemocap and unpack Session1 to Session5 into data/iemocap",
)  # no counts by speaker that we could check against a source; the label files tell which clips are missing


def read(
    folder: Path,
    *,
    emotions: Literal["four", "six"] = "four",
    part: Literal["all", "improvised", "scripted"] = "all",
) -> Iterator[Clip | Refused]:
    """`part` keeps only improvised or only scripted dialogues."""
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
    """Utterance → label. Folders below EmoEvaluation hold what single raters said."""
    labels = {}
    for file in media_files(folder, {".txt"}):
        if file.parent.name.lower() == "emoevaluation":
            for match in LABEL.finditer(file.read_text(encoding="utf-8", errors="replace")):
                labels[match[1]] = match.groups()[-1]
    return labels


def _wanted(utterance: str, part: str) -> bool:
    return part == "all" or ("_impro" in utterance) == (part == "improvised")


def _speaker(utterance: str) -> str:
    """Ses01M_impro02_F003 → iemocap-Ses01F: the letter in front says who wore the markers."""
    return f"iemocap-{utterance[:5]}{NAME.fullmatch(utterance)[2]}"  # type: ignore[index]


def _clip(path: Path, label: str | None, emotions: str) -> Clip | Refused:
    if label is None:
        return Refused(path, "no label in dialog/EmoEvaluation/*.txt")
    if label in ("xxx", "oth"):
        return Refused(path, "no emotion that most raters agreed on")
    if label not in EMOTION[emotions]:
        return Refused(path, f"an emotion that `emotions={emotions}` leaves out")
    script = re.search(r"script\d\d_\d", path.stem)  # a letter behind it is a second part of the same script
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

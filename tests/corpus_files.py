"""The files of every corpus under their official names, for tests that only look at names: empty files do."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from emotion_lightning.corpora import Clip, Corpus, open_corpus
from emotion_lightning.data.verify import official_sums

SHARED = Path(__file__).parents[2] / "shared" / "corpora"


def ravdess_names(actors: Iterable[int] = range(1, 25), channel: str = "01") -> list[str]:
    """Stems of RAVDESS, written down from the paper: neutral is never strong."""
    return [
        f"03-{channel}-{emotion:02}-{intensity:02}-{sentence:02}-{take:02}-{actor:02}"
        for actor in actors
        for emotion, intensity, sentence, take in itertools.product(range(1, 9), (1, 2), (1, 2), (1, 2))
        if not (emotion == 1 and intensity == 2)
    ]


SAVEE_NUMBERS = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
SAVEE_STEMS = [f"{code}{n:02}" for code, most in SAVEE_NUMBERS.items() for n in range(1, most + 1)]
SAVEE = list(itertools.product(("DC", "JE", "JK", "KL"), SAVEE_STEMS))
SAVEE_LAYOUTS = {
    "flat": [f"ALL/{speaker}_{stem}.wav" for speaker, stem in SAVEE],
    "nested": [f"AudioData/{speaker}/{stem}.wav" for speaker, stem in SAVEE],
}
TESS_FOLDERS = {"OAF_fear": "OAF_Fear", "OAF_ps": "OAF_Pleasant_surprise", "OAF_sad": "OAF_Sad"}
TESS_FOLDERS |= {"YAF_ps": "YAF_pleasant_surprised"}
EMOVO_SENTENCES = [*("b1", "b2", "b3", "d1", "d2", "l1", "l2", "l3", "l4"), *(f"n{n}" for n in range(1, 6))]
IEMOCAP_LABELS = ("neu", "hap", "exc", "sad", "ang")


def tess_file(stem: str) -> str:
    speaker, _, emotion = stem.split("_")
    folder = TESS_FOLDERS.get(f"{speaker}_{emotion}", f"{speaker}_{emotion}")
    return f"{folder}/{'OA_bite_neutral' if stem == 'OAF_bite_neutral' else stem}.wav"


def iemocap_utterances() -> list[tuple[str, str, str]]:
    """(session, dialogue, utterance): both speakers of each session say five lines in two dialogues."""
    return [
        (f"Session{s}", f"Ses0{s}{m}_{scene}", f"Ses0{s}{m}_{scene}_{sex}00{n}")
        for s in range(1, 6)
        for m, scene in (("F", "impro01"), ("M", "script01_1"))
        for sex in "FM"
        for n in range(len(IEMOCAP_LABELS))
    ]


def iemocap_texts(labels: Sequence[str] = IEMOCAP_LABELS) -> dict[str, str]:
    """The label files, the labels of single raters next to them, and the sound of a whole dialogue, which is not a clip."""
    texts: dict[str, str] = {}
    for session, dialogue, utterance in iemocap_utterances():
        line = f"[6.2901 - 8.2357]\t{utterance}\t{labels[int(utterance[-1])]}\t[2.5000, 2.5000, 2.5000]\n"
        folder = f"{session}/dialog/EmoEvaluation"
        before = texts.get(f"{folder}/{dialogue}.txt", "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n")
        texts[f"{folder}/{dialogue}.txt"] = f"{before}{line}C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
        texts[f"{folder}/._{dialogue}.txt"] = "\0"
        texts[f"{folder}/Categorical/{dialogue}_e2_cat.txt"] = f"{utterance} :Fear; ()\n"
        texts[f"{session}/dialog/wav/{dialogue}.wav"] = ""
    return texts


TABLE_FILES = [f"sounds/{who}_{emotion}.wav" for who in ("anna", "ben") for emotion in ("angry", "sad", "neutral")]
TABLE_ROWS = [f"{file},{Path(file).stem.split('_')[1]},{Path(file).stem.split('_')[0]}" for file in TABLE_FILES]

FILES = {
    "ravdess": [f"Actor_{stem[-2:]}/{stem}.wav" for stem in ravdess_names()],
    "savee": SAVEE_LAYOUTS["flat"],
    "crema_d": [f"AudioWAV/{stem}.wav" for stem in official_sums("crema_d")],
    "tess": [tess_file(stem) for stem in official_sums("tess")],
    "emodb": [f"wav/{stem}.wav" for stem in official_sums("emodb")],
    "emovo": [
        f"EMOVO/{speaker}/{emotion}-{speaker}-{sentence}.wav"
        for speaker in ("f1", "f2", "f3", "m1", "m2", "m3")
        for emotion in ("dis", "gio", "neu", "pau", "rab", "sor", "tri")
        for sentence in EMOVO_SENTENCES
    ],
    "iemocap": [f"{session}/sentences/wav/{d}/{u}.wav" for session, d, u in iemocap_utterances()],
    "table": TABLE_FILES,
}
COUNTS = {"ravdess": 1440, "savee": 480, "crema_d": 7442, "tess": 2800, "emodb": 535, "emovo": 588}
COUNTS |= {"iemocap": 100, "table": 6}  # iemocap's are a small tree of our own
TEXTS = {"iemocap": iemocap_texts(), "table": {"table.csv": "\n".join(["path,emotion,speaker", *TABLE_ROWS])}}


def touch(folder: Path, names: Sequence[str]) -> None:
    for parent in dict.fromkeys((folder / name).parent for name in names):
        parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def put(name: str, folder: Path, files: Sequence[str] | None = None) -> None:
    """A corpus's files and, where it has some, its text files."""
    touch(folder, FILES[name] if files is None else files)
    write(folder, TEXTS.get(name, {}))


def some(name: str) -> list[str]:
    """About 200 of a corpus's files, of all its speakers, where the count does not matter."""
    return FILES[name][:: max(1, len(FILES[name]) // 200)]


def opened(name: str, data_dir: Path, **args: str) -> Corpus:
    return open_corpus(name, args, data_dir, data_dir / "cache")


def fields(clip: Clip) -> tuple[str, ...]:
    """What the names say of a clip, wherever it lies."""
    return (clip.id, clip.emotion, clip.speaker, clip.sex, clip.sentence, clip.intensity, clip.take)

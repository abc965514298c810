"""A folder of RAVDESS → a tested model, against nkululeko on the same split, in a virtual environment of its own.

    python3 -m venv .venv-nkululeko && .venv-nkululeko/bin/pip install nkululeko opensmile
    make bench ONLY=nkululeko_end_to_end DATA=<corpora>

Both extract features from the sound files and fit an SVM. The test speakers are actors 2, 5, 14, 15 and 16 (the first of
Luna-Jiménez's folds). Each uses its usual features: nkululeko eGeMAPS, ours mean and standard deviation of 20 MFCC. So
seconds are compared, not unweighted average recall.
"""

import csv
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.timing import Row, Setting, Unavailable, in_turns, run, run_ours, seconds
from emotion_lightning.corpora import open_corpus

OPTIONAL = True
PYTHON = Path(".venv-nkululeko/bin/python")
TESTED = {"02", "05", "14", "15", "16"}
INI = """
[EXP]
root = ./
name = results
runs = 1
epochs = 1
save = False
[DATA]
databases = ['train', 'test']
train = train.csv
train.type = csv
train.absolute_path = True
train.split_strategy = train
test = test.csv
test.type = csv
test.absolute_path = True
test.split_strategy = test
target = emotion
labels = ['neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised']
[FEATS]
type = ['os']
[MODEL]
type = svm
"""


def rows(setting: Setting) -> Iterator[Row]:
    if not PYTHON.exists():
        raise Unavailable(
            f"nkululeko is not in {PYTHON.parent.parent}; benchmarks/nkululeko_end_to_end.py explains how to install it"
        )
    if setting.data is None:
        raise Unavailable("it needs real clips: DATA=<folder with ravdess/>")
    write_tables(setting)
    for state, forget in (("cold", True), ("warm", False)):
        ours, theirs = in_turns(
            min(setting.rounds, 3),
            partial(seconds, partial(ours_once, setting, forget)),
            partial(seconds, partial(theirs_once, setting, forget)),
        )
        yield Row(f"RAVDESS folder to tested SVM, {state}", ours, "s", theirs, "nkululeko, eGeMAPS", at_most=True)


def ours_once(setting: Setting, forget: bool) -> None:
    """Trains and tests our SVM; with `forget`, without a cache."""
    if forget:
        shutil.rmtree(setting.work / "cache", ignore_errors=True)
    split = ("protocol=published_folds", "protocol.published=ravdess_luna_jimenez", "protocol.fold=0")
    folders = ("--data", str(setting.data), "--cache", "cache")
    command = ("train", "svm_std", "corpora.savee=off", *split, *folders)
    run_ours("-m", "emotion_lightning", *command, cwd=setting.work)


def theirs_once(setting: Setting, forget: bool) -> None:
    """Trains and tests nkululeko's SVM; with `forget`, without its earlier features."""
    if forget:
        shutil.rmtree(setting.work / "results", ignore_errors=True)
    run(PYTHON.absolute(), "-m", "nkululeko.nkululeko", "--config", "exp.ini", cwd=setting.work)


def write_tables(setting: Setting) -> None:
    """Writes nkululeko's settings, and a table of clips for each split."""
    assert setting.data
    (setting.work / "exp.ini").write_text(INI)
    clips = open_corpus("ravdess", {}, setting.data, setting.work).clips
    for split in ("train", "test"):
        with (setting.work / f"{split}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(("file", "speaker", "emotion"))
            for clip in clips:
                if (clip.speaker[-2:] in TESTED) == (split == "test"):
                    table.writerow((clip.path, clip.speaker, clip.emotion))

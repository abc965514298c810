"""A folder of RAVDESS → a tested SVM, imports included: cold with nothing cached, warm with the features there."""

import shutil
from collections.abc import Iterator

from benchmarks.timing import NotHere, Row, Setting, ours, seconds


def rows(setting: Setting) -> Iterator[Row]:
    if setting.data is None:
        raise NotHere("it takes real clips: DATA=<folder with ravdess/>")
    cold, warm = [], []
    for _ in range(setting.rounds):
        for left in ("cache", "mlruns"):
            shutil.rmtree(setting.work / left, ignore_errors=True)
        cold.append(seconds(lambda: train(setting)))
        warm.append(seconds(lambda: train(setting)))
    yield Row("RAVDESS folder to tested SVM, cold", cold, "s", goal=16, at_most=True)
    yield Row("RAVDESS folder to tested SVM, warm", warm, "s", goal=8, at_most=True)


def train(setting: Setting) -> None:
    options = ("corpora.savee=off", "--data", str(setting.data), "--cache", str(setting.work / "cache"))
    ours("-m", "emotion_lightning", "train", "svm", *options, cwd=setting.work)

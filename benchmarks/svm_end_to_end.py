"""A folder of RAVDESS → a tested SVM, imports included: cold without a cache, warm with cached features."""

import shutil
from collections.abc import Iterator

from benchmarks.timing import Row, Setting, Unavailable, run_ours, seconds


def rows(setting: Setting) -> Iterator[Row]:
    if setting.data is None:
        raise Unavailable("it needs real clips: DATA=<folder with ravdess/>")
    cold, warm = [], []
    for _ in range(setting.rounds):
        for folder in ("cache", "mlruns"):
            shutil.rmtree(setting.work / folder, ignore_errors=True)
        cold.append(seconds(lambda: train(setting)))
        warm.append(seconds(lambda: train(setting)))
    yield Row("RAVDESS folder to tested SVM, cold", cold, "s", goal=16, at_most=True)
    yield Row("RAVDESS folder to tested SVM, warm", warm, "s", goal=8, at_most=True)


def train(setting: Setting) -> None:
    options = ("corpora.savee=off", "--data", str(setting.data), "--cache", str(setting.work / "cache"))
    run_ours("-m", "emotion_lightning", "train", "svm", *options, cwd=setting.work)

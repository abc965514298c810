"""The paper's full recipe on a GPU, where it is to take a minute: `make train EXP=resnet_aug`, 66 epochs, to the tested model."""

from collections.abc import Iterator

import torch

from benchmarks.timing import NotHere, Row, Setting, ours, seconds


def rows(setting: Setting) -> Iterator[Row]:
    if not torch.cuda.is_available():
        raise NotHere("it takes a GPU")
    if setting.data is None:
        raise NotHere("it takes real clips: DATA=<folder with ravdess/ and savee/>")
    places = ("--data", str(setting.data), "--cache", str(setting.work / "cache"))
    command = ("-m", "emotion_lightning", "train", "resnet_aug", "model.weights=none", *places)

    def train() -> None:
        ours(*command, cwd=setting.work)

    train()  # makes the cache
    taken = [seconds(train) for _ in range(min(setting.rounds, 3))]
    yield Row("resnet_aug, 66 epochs, from random weights, warm", taken, "s", goal=60, at_most=True)

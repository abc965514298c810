"""DeepEmoNet's full recipe on a GPU, with a goal of one minute: `make train EXP=resnet_aug`, 66 epochs, to the tested model."""

from collections.abc import Iterator

import torch

from benchmarks.timing import Row, Setting, Unavailable, run_ours, seconds


def rows(setting: Setting) -> Iterator[Row]:
    if not torch.cuda.is_available():
        raise Unavailable("it needs a GPU")
    if setting.data is None:
        raise Unavailable("it needs real clips: DATA=<folder with ravdess/ and savee/>")
    folders = ("--data", str(setting.data), "--cache", str(setting.work / "cache"))
    command = ("-m", "emotion_lightning", "train", "resnet_aug", "model.weights=none", *folders)

    def train() -> None:
        run_ours(*command, cwd=setting.work)

    train()  # fills the cache
    taken = [seconds(train) for _ in range(min(setting.rounds, 3))]
    yield Row("resnet_aug, 66 epochs, from random weights, warm", taken, "s", goal=60, at_most=True)

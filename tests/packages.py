"""Model packages on generated voices, made without a tracked run: networks take a few steps, estimators are fitted."""

from pathlib import Path

import lightning as L
import torch
from rich.console import Console

from emotion_lightning.config import loader
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.serving import package
from emotion_lightning.serving.about import About, Scale
from emotion_lightning.training import estimator_file
from emotion_lightning.training.build import build
from emotion_lightning.training.classifier import EmotionClassifier

DEMO = ('corpora=["demo"]', "corpora.demo={speakers: 4, takes: 1}", "protocol=speaker_folds")


def make_package(folder: Path, cache: Path, experiment: str, *settings: str, size: int | None = None) -> Path:
    """Writes the package of an experiment on the demo corpus to `folder`; `size` is the height that pictures are resized to."""
    L.seed_everything(0, verbose=False)
    chosen = loader.load(experiment, [*DEMO, f"data.cache={cache}", *settings])
    data, model = build(chosen, Console(quiet=True))
    folder.mkdir(parents=True)
    if isinstance(model, EmotionClassifier):
        model.size = size
        kept = folder / "best.ckpt"
        _train(model, data)
        parts = {"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict(), "picture_size": size}
        torch.save(parts, kept)
    else:
        index = [torch.from_numpy(data.split.indices(name)) for name in ("train", "val")]
        train, val = (data.gather(i, torch.device("cpu")) for i in index)
        model.fit(train, val, [data.clips[i].speaker for i in data.split.train])
        kept = folder / "best.skops"
        estimator_file.save(model, kept)
    seconds = data.training_seconds()
    about = About(
        title=f"DEMO: {experiment}",
        run="0" * 32,
        classes=data.classes,
        sample_rate=chosen.audio.sample_rate,
        calibration=Scale(temperature=1.5, threshold=0.1),
        median_seconds=float(seconds.mean()),
        longest_seconds=float(seconds.max()),
    )
    package.write(folder / "package", kept, data.feature, about, "DEMO")
    return folder / "package"


def _train(model: EmotionClassifier, data: EmotionData, steps: int = 12) -> None:
    """Takes a few steps, because random weights give nearly the same probabilities to every clip."""
    optimiser = torch.optim.Adam(model.network.parameters(), 0.01)
    random = torch.Generator().manual_seed(0)
    train = torch.from_numpy(data.split.train)
    for _ in range(steps):
        batch = data.gather(train[torch.randperm(len(train), generator=random)[:32]], torch.device("cpu"))
        x, valid, targets = model.augmented(batch)
        optimiser.zero_grad()
        model.loss(x, valid, targets).backward()
        optimiser.step()
    model.eval()

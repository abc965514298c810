"""A training epoch against fastai's on the same pictures. DeepEmoNet used fastai; it needs a virtual environment of its own.

    python3 -m venv .venv-fastai && .venv-fastai/bin/pip install fastai timm && make bench ONLY=fastai_epoch

Both train ResNet34 from random weights, every layer, batch 64, without augmentation. fastai reads PNG files, which its users
have; the system holds them in memory. Ours reads the cache. fastai runs with its defaults: 32 bits on a CPU.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.timing import Row, Setting, Unavailable, in_turns, run
from benchmarks.trainers import Turns, prepare
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.training.callbacks import Schedule
from emotion_lightning.training.fit import make_trainer
from emotion_lightning.training.schedule import cycles

OPTIONAL = True
PYTHON = Path(".venv-fastai/bin/python")
CASES = {128: (512, 2.5), 256: (192, 3.0)}  # px: (pictures per epoch, goal)
EPOCH = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
from fastai.vision.all import *
folder, size, batch = Path(sys.argv[1]), int(sys.argv[2]), 64
block = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label,
                  splitter=IndexSplitter([]), batch_tfms=Normalize.from_stats(*imagenet_stats))
loaders = block.dataloaders(folder, bs=batch, num_workers=0)
learner = vision_learner(loaders, resnet34, pretrained=False, normalize=False)
learner.unfreeze()
seconds = []
class Clock(Callback):
    def before_epoch(self): self.start = time.perf_counter()
    def after_train(self): seconds.append(time.perf_counter() - self.start)
with learner.no_bar(), learner.no_logging():
    learner.fit_one_cycle(2, 1e-3, cbs=Clock())
count = len(loaders.train) * batch
print(json.dumps({"clips_per_second": count / seconds[-1]}))
"""


def rows(setting: Setting) -> Iterator[Row]:
    if not PYTHON.exists():
        raise Unavailable(
            f"fastai is not in {PYTHON.parent.parent}; benchmarks/fastai_epoch.py explains how to install it"
        )
    for size, (count, goal) in CASES.items():
        options = {"features.height": size, "features.width": size, "fit.stages.main.size": size}
        data, _ = prepare("resnet_scratch", **options)
        pictures = setting.work / f"pictures{size}"
        write_pictures(data, pictures, count)
        ours, theirs = in_turns(
            min(setting.rounds, 3), partial(our_epoch, options, count), partial(fastai_epoch, pictures, size)
        )
        yield Row(f"ResNet34, {size} px, epoch", ours, "clips/s", theirs, "fastai", goal=goal)


def our_epoch(options: dict[str, int], count: int) -> float:
    """Returns clips per second of our second epoch of `count` pictures."""
    data, model = prepare("resnet_scratch", **options)
    fit = model.experiment.fit
    turns = Turns(count // 64, 1, 64, lambda: None)
    schedule = Schedule(cycles(fit.stages), 0, searched=False)
    trainer = make_trainer(fit, schedule.cycles[-1].first + 24, [schedule, turns], freezes=False)
    trainer.limit_val_batches = 0
    trainer.fit(model, datamodule=data)
    return turns.ours[0]


def fastai_epoch(pictures: Path, size: int) -> float:
    """Returns clips per second of fastai's second epoch over all pictures of the folder."""
    output = run(PYTHON.absolute(), "-c", EPOCH, pictures, str(size), cwd=pictures.parent)
    figure: float = json.loads(output.splitlines()[-1])["clips_per_second"]
    return figure


def write_pictures(data: EmotionData, folder: Path, count: int) -> None:
    """Writes PNG files, one folder per emotion, in the colours of the network's input."""
    import matplotlib.image

    for row in data.split.train[:count].tolist():
        picture = data.feature.present(data.gather(torch.tensor([row]), torch.device("cpu")).stored)[0]
        emotion = folder / data.clips[row].emotion
        emotion.mkdir(parents=True, exist_ok=True)
        matplotlib.image.imsave(emotion / f"{row}.png", picture.permute(1, 2, 0).numpy())

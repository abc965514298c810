"""The model package: one folder with all that predictions need, as plain data. Nothing in it is a pickle of our classes.

package.json            classes, rate, calibration, threshold, figures (about.py)
model.ckpt              a network: settings and weights, which torch reads with weights_only; or
model.skops             a scikit-learn model, which skops reads (training/estimator_file.py)
feature/                outside weights that the feature computes with, such as a speech encoder's
README.md               the model card
"""

import shutil
from pathlib import Path

import torch

from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature
from emotion_lightning.serving.about import About, read_facts
from emotion_lightning.serving.recogniser import Recogniser
from emotion_lightning.training import checkpoint_file
from emotion_lightning.training.inference import from_checkpoint

ABOUT, CARD, FEATURE = "package.json", "README.md", "feature"
NEEDED = ("hyper_parameters", "state_dict", "picture_size")
"""What a checkpoint is read for. The rest, such as averaged weights and counters of the training, is left out."""


def write(folder: Path, kept: Path, feature: Feature, about: About, card: str) -> None:
    """Writes a package of the model that a run kept (best.ckpt, last.ckpt or best.skops)."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"model{kept.suffix}"
    if kept.suffix == ".ckpt":
        checkpoint = torch.load(kept, map_location="cpu", weights_only=True)
        checkpoint_file.save({key: checkpoint[key] for key in NEEDED}, target)
    else:
        shutil.copyfile(kept, target)
    feature.save_weights(folder / FEATURE)
    (folder / CARD).write_text(card, encoding="utf-8")
    (folder / ABOUT).write_text(about.model_dump_json(indent=1), encoding="utf-8")


def read_about(folder: Path) -> About:
    """Reads what a package says of its model.

    Raises: UserError for a folder that is not a package, or is one of a later version.
    """
    return read_facts(About, folder / ABOUT, "a model package")


def read(folder: Path, min_confidence: float | None = None) -> Recogniser:
    """Rebuilds the model of a package on the CPU, in 32 bits.

    Raises: UserError for a folder that is not a package, and for a damaged file in it.
    """
    about = read_about(folder)
    files = [file for file in (folder / "model.ckpt", folder / "model.skops") if file.exists()]
    if not files:
        raise UserError(f"MODEL: '{folder}' has no model.ckpt and no model.skops")
    model = from_checkpoint(files[0])
    if (folder / FEATURE).is_dir():
        model.classifier.feature.load_weights(folder / FEATURE)
    return Recogniser(model, about, min_confidence)

"""The schema of an experiment's settings, as frozen pydantic types; config/loader.py fills it from YAML files.

Imports no torch, so a typo is reported at once.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from emotion_lightning.config import parts
from emotion_lightning.config.search import SearchRange
from emotion_lightning.config.settings import Settings

Args = dict[str, Any]
USES_TEST_SPEAKERS = "USES TEST SPEAKERS"
"""The mark of `data.normalise_speakers` in every title and table."""


def _tidy_parts(value: Any) -> Any:
    """Reads `mixup:` and `mixup: on` as the part with its defaults, and removes the part for `mixup: off`."""
    if not isinstance(value, dict):
        return value
    return {k: {} if v is None or v is True else v for k, v in value.items() if v is not False}


def _tidy_stages(value: Any) -> Any:
    """Removes the stage for `main: off`; a stage cannot be `on`, since it needs epochs."""
    if not isinstance(value, dict):
        return value
    return {k: {} if v is None else v for k, v in value.items() if v is not False}


def _emotion(value: Any) -> Any:
    if value is not False and not isinstance(value, str):
        raise ValueError("it should be an emotion, or off")
    return value


def _not_empty(corpora: dict[str, Args]) -> dict[str, Args]:
    if not corpora:
        raise ValueError("no corpus is left; switch one on, for example corpora.ravdess=on")
    return corpora


Precision = Literal["auto", "32", "bf16-mixed", "16-mixed"]
# checked by a function, since pydantic's union of two types reports a fault in two lines
Emotion = Annotated[str | Literal[False], PlainValidator(_emotion)]
Parts = Annotated[dict[str, Args], BeforeValidator(_tidy_parts)]


class Part(BaseModel):
    """A part by its name; all other keys of the mapping are the arguments that the part's file declares."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: str

    @property
    def args(self) -> Args:
        """The part's arguments."""
        return dict(self.model_extra or {})


class Audio(Settings):
    sample_rate: int = Field(16_000, ge=8_000, le=48_000, description="Hz; every clip is resampled to it")
    trim_db: float | None = Field(
        60.0,
        ge=1,
        description="dB below the clip's loudest frame that count as silence at either end; null keeps the silence",
    )
    min_seconds: float = Field(0.1, ge=0, description="a clip shorter than this after trimming is reported as bad")


class Data(Settings):
    dir: str = Field("data", description="folder that holds one folder a corpus")
    cache: str = Field(".cache", description="folder for cached waveforms and features")
    on_bad_clip: Literal["stop", "skip"] = Field(
        "stop", description="what to do about corrupt, empty, silent or too short clips"
    )
    permute_labels: bool = Field(
        False,
        description="permute the emotions of each speaker's clips, so that every score has to be that of chance",
    )
    normalise_speakers: bool = Field(
        False,
        description="standardise the features of each speaker by all clips of that speaker, of the test split too: "
        "a shortcut of published figures, marked USES TEST SPEAKERS",
    )
    samples: int = Field(
        4,
        ge=0,
        description="training clips that a run keeps as sound and as picture, each of another emotion; 0 keeps none",
    )
    batch_size: int = Field(64, ge=1, description="clips in a training step, over all devices together")
    normalise: Literal["train", "imagenet", "inception", "none"] = Field(
        "train", description="mean and std: of the training split, of ImageNet, 0.5 and 0.5 (TensorFlow's), or none"
    )


class Stage(Settings):
    """Repeats `rounds` times: `frozen_epochs` with the body frozen, then `epochs` with every layer; each is a cycle."""

    rounds: int = Field(1, ge=1)
    frozen_epochs: int = Field(0, ge=0, description="epochs in which only the head and the batch norms learn")
    epochs: int = Field(0, ge=0)
    size: int | None = Field(
        None, ge=16, le=2048, description="height of the picture in pixels; null keeps the feature's height"
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate of the head")
    lr_spread: float = Field(1.0, ge=1, description="head rate / stem rate while all layers learn, geometric between")
    unfrozen_lr: float = Field(1.0, gt=0, description="factor on lr for the epochs with every layer")
    shape: Literal["one_cycle", "exponential", "constant"] = "one_cycle"
    decay: float = Field(0.9, gt=0, le=1, description="factor an epoch of shape exponential")
    peak: float = Field(0.25, gt=0, lt=1, description="share of the frozen cycle at which one_cycle peaks")
    unfrozen_peak: float = Field(0.3, gt=0, lt=1, description="the same for the cycle with every layer")


def _has_epochs(stages: dict[str, Stage]) -> dict[str, Stage]:
    if not any(stage.epochs or stage.frozen_epochs for stage in stages.values()):
        raise ValueError("no stage has an epoch")
    return stages


class Fit(Settings):
    stages: Annotated[dict[str, Stage], BeforeValidator(_tidy_stages), AfterValidator(_has_epochs)] = Field(
        default_factory=lambda: {"main": Stage(epochs=20)}
    )
    optimizer: Literal["adam", "sgd"] = Field("adam", description="AdamW, or SGD with momentum 0.9")
    weight_decay: float = Field(
        0.01, ge=0, description="decoupled with adam, an L2 penalty with sgd; none on biases and batch norm"
    )
    beta2: float = Field(0.99, gt=0, lt=1)
    eps: float = Field(1e-5, gt=0)
    clip_grad: float | None = Field(None, gt=0, description="largest gradient norm")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of averaged weights, which are then validated and tested"
    )
    lr_search: bool = Field(
        False,
        description="before each cycle, search the learning rate as fastai does (rate of the least loss / 10); ignore lr",
    )
    monitor: Literal["uar/val", "accuracy/val", "f1/val", "loss/val"] = Field(
        "uar/val", description="the metric that chooses the best epoch"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after this number of epochs without a better `monitor`; null trains to the end"
    )
    keep: Literal["best", "last"] = Field(
        "best", description="the epoch whose weights are evaluated on the test split"
    )
    refit: bool = Field(
        False,
        description="of a scikit-learn model: after the scores of the validation split, fit once more on training and "
        "validation clips, and test that model",
    )
    crops: int = Field(
        1,
        ge=1,
        le=64,
        description="square crops of a picture wider than high, side by side from its start to its end, whose "
        "probabilities are averaged outside training; 1 is the centre",
    )
    gap_clips: int = Field(
        384, ge=1, description="number of training clips that each epoch's clean training loss is measured on"
    )
    precision: Annotated[Precision, BeforeValidator(lambda value: "32" if value == 32 else value)] = "auto"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(
        1, ge=1, description="processes on this machine; torchrun and srun set it themselves (docs/scale.md)"
    )
    log_model: bool = Field(True, description="keep the servable model and the checkpoints as artifacts of the run")


class Answer(Settings):
    """What a trained model answers; it changes no training, so signatures leave it out."""

    min_confidence: float = Field(
        0.0, ge=0, lt=1, description="a clip whose most probable emotion has less is answered with `uncertain`"
    )
    coverage: float = Field(
        0.9, gt=0, lt=1, description="share of clips whose set of emotions should contain the true one"
    )


MACHINE_FIT = {"accelerator", "devices", "log_model"}
MACHINE_DATA = {"dir", "cache", "samples"}
"""Settings of `fit` and `data` that choose the machine and what is kept, not the computation; signatures leave them out."""


class Experiment(Settings):
    name: str
    about: str = Field("", description="one line for `make experiments`")
    seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        description="seed of weights, order, dropout and augmentation; a protocol has a seed of its own",
    )
    corpora: Annotated[Parts, AfterValidator(_not_empty)]
    emotions: dict[str, Emotion] = Field(
        default_factory=dict, description="labels that are renamed ({calm: neutral}) or left out ({bored: off})"
    )
    protocol: Part
    audio: Audio = Audio()
    features: Part
    augment: Parts = Field(default_factory=dict)
    model: Part
    data: Data = Data()
    fit: Fit = Fit()
    answer: Answer = Answer()
    # excluded from every dump, since it changes no run: so neither signatures nor params nor checkpoints have it
    search: Annotated[dict[str, SearchRange], BeforeValidator(_tidy_parts)] = Field(
        default_factory=dict, exclude=True, description="ranges of settings that `make tune` searches, by dotted path"
    )

    @property
    def is_demo(self) -> bool:
        return "demo" in self.corpora

    @property
    def is_leaky(self) -> bool:
        """Returns whether the protocol puts copies of a clip into two splits, on purpose."""
        return bool(parts.fact("protocols", self.protocol.name, "LEAKS", False))

    @property
    def title_prefix(self) -> str:
        """Returns the prefix of every title made from this experiment: DEMO, LEAKY and the like, those that apply."""
        flags = {
            "DEMO": self.is_demo,
            "LEAKY": self.is_leaky,
            USES_TEST_SPEAKERS: self.data.normalise_speakers,
            "PERMUTED LABELS": self.data.permute_labels,
        }
        return "".join(f"{flag} · " for flag, is_set in flags.items() if is_set)

    def signature(self) -> str:
        """Returns 16 hex digits that name the computation: equal for equal settings, whatever the file or the machine.

        The order of stages, corpora and augmentations counts, since it changes the result.
        """
        settings = self.model_dump(
            mode="json",
            exclude={"name": True, "about": True, "data": MACHINE_DATA, "fit": MACHINE_FIT, "answer": True},
        )
        if not self.emotions:  # older signatures, of runs without these settings, stay valid
            del settings["emotions"]
        if not self.fit.refit:
            del settings["fit"]["refit"]
        if self.fit.crops == 1:
            del settings["fit"]["crops"]
        for name in ("permute_labels", "normalise_speakers"):
            if not settings["data"][name]:
                del settings["data"][name]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]

    def flat(self) -> dict[str, str]:
        """Returns every setting by its dotted path, as MLflow's params hold them."""
        return {
            path: str(value)
            for path, value in flatten(self.model_dump(mode="json")).items()
            if path not in ("name", "about")
        }


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens {"fit": {"ema": 0.9}} to {"fit.ema": 0.9}; an empty mapping stays {}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat

"""One run from start to end: data, network, MLflow run, training, one look at the test side, all of it written down."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import mlflow
import numpy as np
import torch
import yaml
from rich.console import Console
from rich.progress import track

from emotion_lightning.audit.leakage import audit
from emotion_lightning.config import parts, ranks
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.filesystem import digest
from emotion_lightning.errors import UserError
from emotion_lightning.models import Network
from emotion_lightning.protocols import SIDES
from emotion_lightning.tracking import environment as machine
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import signals, store
from emotion_lightning.training import ddp as distributed
from emotion_lightning.training import fit as learn
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.estimator import EmotionEstimator
from emotion_lightning.training.evaluation import Result, conclude, sides
from emotion_lightning.training.inference import from_checkpoint


def train(
    experiment: Experiment,
    console: Console,
    resume: str | None = None,
    tags: Mapping[str, str] | None = None,
    watch: learn.Record = lambda figures, epoch: None,
) -> Result | None:
    """Runs the experiment; `tags` are added to the run's own, `watch` sees each epoch's figures. None on the ranks of a
    distributed run that only lend a hand."""
    learn.prepare_machine()
    here = ranks.of(experiment.fit)
    chief = here.rank == 0
    if chief and store.is_server():
        store.connect()  # one that is away is told of now, and not when the corpora have been read
    console = console if chief else Console(quiet=True)
    if not chief and here.starter == "lightning":
        distributed.live_with_parent()
    L.seed_everything(experiment.seed, verbose=False)
    data, model = build(experiment, console)
    if isinstance(model, EmotionClassifier):
        here.must_share(experiment.data.batch_size)
    if not chief:
        _lend_a_hand(data, model, here, work_folder(resume or "other-rank"))
        return None
    found = audit(data)
    found.stop_if_broken()
    for leak in found.leaks() if not experiment.is_leaky else ():
        console.print(f"[yellow]audit:[/] {leak}: {leak.what} ({leak.example}); `make audit` tells more")
    with tracking.run(
        experiment, {**_tags(experiment, data, model), **found.tags(), **(tags or {})}, resume
    ) as tracked:

        def record(figures: dict[str, float], epoch: int) -> None:
            tracked.epoch(figures, epoch)
            watch(figures, epoch)

        work = work_folder(tracked.id)
        console.print(f"run {tracked.id[:8]} · {sides(data)} · {len(data.classes)} emotions{_precision(model)}")
        _log_start(experiment, data)
        fitted = learn.fit(data, model, work, record, console)
        refuse_early_look(data)
        result = conclude(experiment, data, fitted, tracked, work / "outputs")
        if experiment.fit.log_model:
            for file in fitted.files:
                mlflow.log_artifact(str(file), "checkpoints")
            _log_model(fitted.kept)
    shutil.rmtree(work)
    return result


def _lend_a_hand(data: EmotionData, model: learn.Model, here: ranks.Ranks, work: Path) -> None:
    """What a rank other than zero does; an estimator needs no second process."""
    if isinstance(model, EmotionEstimator):
        return
    # of those that Lightning started, rank zero hears the signals (distributed.live_with_parent)
    with nullcontext() if here.starter == "lightning" else signals.raised():
        learn.fit(data, model, work, lambda *_: None, Console(quiet=True))


def refuse_early_look(data: EmotionData) -> None:
    """Tags the run with how many test clips were read for normaliser and fit; any is too many."""
    early = {who: data.saw(who, "test") for who in ("normaliser", "fit")}
    mlflow.set_tags({f"audit/{who}_saw_test": str(count) for who, count in early.items()})
    for who, count in early.items():
        if count:
            raise UserError(f"audit: {count} test clips were read for the {who}, before the test side was opened")


def build(experiment: Experiment, console: Console) -> tuple[EmotionData, learn.Model]:
    """Data and model, every part of them made and checked; nothing is trained and no run is opened."""

    def with_bar(items: Iterable[Any], what: str, count: int) -> Iterable[Any]:
        return track(items, what, count, console=console, transient=True, disable=not console.is_terminal)

    data = EmotionData(experiment, with_bar)
    data.setup()
    for note in data.notes:
        console.print(f"[yellow]note:[/] {note}")
    with data.reads.purpose("shape"):
        first = data.gather(torch.tensor([0]), torch.device("cpu"))
    channels, bands, frames = shape = tuple(data.feature.present(first.stored).shape[1:])
    made = parts.entry("models", experiment.model.name)(shape, len(data.classes), **experiment.model.args)
    if not isinstance(made, Network):
        return data, EmotionEstimator(experiment, data.feature, made, data.classes)
    classifier = EmotionClassifier(experiment, data.feature, made, (channels, bands, frames), data.classes)
    classifier.learn_from(data)
    return data, classifier


def _precision(model: learn.Model) -> str:
    return f" · {learn.precision(model.experiment.fit)}" if isinstance(model, EmotionClassifier) else ""


def work_folder(run_id: str) -> Path:
    """Where the checkpoints of a run lie until it has finished."""
    return store.ROOT / "checkpoints" / run_id


def _tags(experiment: Experiment, data: EmotionData, model: learn.Model) -> dict[str, str]:
    by_lightning, here = isinstance(model, EmotionClassifier), ranks.of(experiment.fit)
    device = torch.cuda.get_device_name() if by_lightning and learn.on_gpu(experiment.fit) else "cpu"
    tags = {
        "experiment": experiment.name,
        "signature": experiment.signature(),
        "protocol": experiment.protocol.name,
        "corpora": "+".join(experiment.corpora),
        "data/digest": data.digest(*SIDES),
        "data/clips": digest([(c.corpus, c.id, c.emotion) for c in data.clips]),
        "seed": str(experiment.seed),
        "DEMO": str(experiment.is_demo),
        "LEAKY": str(experiment.is_leaky),
        "machine/precision": learn.precision(experiment.fit) if by_lightning else "scikit-learn",
        "machine/devices": str(here.count if by_lightning else 1),
        "machine/nodes": str(here.machines if by_lightning else 1),
        **machine.tags(device),
        **machine.commit(),
    }
    if by_lightning:
        tags["machine/memory_format"] = learn.memory_format()
    if data.notes:
        tags["data/notes"] = "; ".join(data.notes)[:1000]
    if "fold" in experiment.protocol.args:
        tags["fold"] = str(experiment.protocol.args["fold"])
    return tags


def _log_start(experiment: Experiment, data: EmotionData) -> None:
    """Settings, environment, data and bad clips: what is known before the first step."""
    # without the name, which a file gives to its experiment: so this artifact can be trained again as it is
    settings = experiment.model_dump(mode="json", exclude={"name"})
    mlflow.log_text(yaml.safe_dump(settings, sort_keys=False), "settings.yaml")
    mlflow.log_text(machine.environment(), "environment.txt")
    name = ("DEMO " if experiment.is_demo else "") + "+".join(experiment.corpora)
    for side in SIDES:
        clips = [data.clips[i] for i in data.split.side(side)]
        counts = {f"clips/{emotion}": str(n) for emotion, n in Counter(c.emotion for c in clips).items()}
        speakers = str(len({clip.speaker for clip in clips}))
        tracking.log_data(name, data.digest(side), side, {"clips": str(len(clips)), "speakers": speakers, **counts})
    if data.bad_clips:
        mlflow.log_text("\n".join(data.bad_clips), "bad_clips.txt")
        mlflow.set_tag("bad_clips", str(len(data.bad_clips)))


def _log_model(checkpoint: Path) -> None:
    """Waveforms → probabilities as an MLflow model. Our code travels with it; a user's own parts must be on the path
    where it is loaded."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    model = from_checkpoint(checkpoint)
    waves, probabilities = (TensorSpec(np.dtype("float32"), (-1, width)) for width in (-1, len(model.classes)))
    mlflow.pytorch.log_model(
        model,
        name="model",
        signature=ModelSignature(Schema([waves]), Schema([probabilities])),
        serialization_format="pickle",
        code_paths=[str(Path(__file__).parent)],
        pip_requirements=machine.requirements(),
        metadata={"classes": list(model.classes)},
    )

"""The recipe of one run: data and model, audit, MLflow run, fit, one evaluation on the test split."""

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import lightning as L
import mlflow
from rich.console import Console
from rich.markup import escape

from emotion_lightning.audit.leakage import audit
from emotion_lightning.config.ranks import Ranks, resolve_ranks
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.serving.logged_model import log_model
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import signals, store
from emotion_lightning.tracking.resume import require_same_data
from emotion_lightning.training import ddp, description, hardware
from emotion_lightning.training.audit_logging import audit_tag, check_test_split_unread, log_audit
from emotion_lightning.training.build import build
from emotion_lightning.training.description import describe
from emotion_lightning.training.evaluation import RunResult, evaluate_and_log, split_sizes
from emotion_lightning.training.fit import OnEpoch, fit
from emotion_lightning.training.inference import Model
from emotion_lightning.training.run_logging import (
    log_checkpoint,
    log_choice,
    log_inputs,
    run_tags,
)


def train(
    experiment: Experiment,
    console: Console,
    resume: str | None = None,
    tags: Mapping[str, str] | None = None,
    on_epoch: OnEpoch = lambda figures, epoch: None,
) -> RunResult | None:
    """Trains and evaluates one experiment as one MLflow run; returns None on every rank but zero.

    `resume` is the id of a run to continue, `tags` are added to the run's own, `on_epoch` gets each epoch's scores.

    Raises:
        UserError: an error that the user can correct, in settings, files or the tracking server, or a lost rank.
    """
    # Process: libraries, rank, seed
    hardware.configure_libraries()
    ranks = resolve_ranks(experiment.fit)
    if ranks.rank == 0:
        store.require_usable()
    if ranks.rank != 0:
        console = Console(quiet=True)
        if ranks.starter == "lightning":
            ddp.exit_with_rank_zero()
    L.seed_everything(experiment.seed, verbose=False)

    # Data and model
    data, model = build(experiment, console)
    if model.trains_in_steps:
        ranks.check_batch_size(experiment.data.batch_size)
    if ranks.rank != 0:
        _fit_on_other_rank(data, model, ranks, work_folder(resume or "other-rank"))
        return None

    # Audit of the split
    findings = audit(data)
    findings.raise_if_broken()
    for leak in findings.leaks() if not experiment.is_leaky else ():
        example = escape(leak.example)  # a file name may contain [brackets]
        console.print(
            f"[yellow]audit:[/] {leak}: {leak.label} ({example}); `make audit EXP={experiment.name}` shows all",
            soft_wrap=True,
        )

    all_tags = {**run_tags(experiment, data, model), **audit_tag(findings, data), **(tags or {})}
    all_tags[description.TAG] = describe(experiment, data, model.pretrained, all_tags)
    if resume:
        require_same_data(resume, all_tags)
    with tracking.run(experiment, all_tags, resume) as tracked:
        folder = work_folder(tracked.id)
        precision = f" · {model.precision_name}" if model.trains_in_steps else ""
        console.print(f"run {tracked.id[:8]} · {split_sizes(data)} · {len(data.classes)} emotions{precision}")
        log_inputs(experiment, data)

        def log_epoch(figures: dict[str, float], epoch: int) -> None:
            tracked.log_epoch(figures, epoch)
            on_epoch(figures, epoch)

        # Fit on the training split; the validation split chooses the epoch
        fitted = fit(data, model, folder, log_epoch, console)
        log_audit(findings, data, model)
        check_test_split_unread(data)
        log_choice(fitted)

        # Evaluation: the test split is read here, once
        result = evaluate_and_log(experiment, data, fitted, tracked, folder / "outputs")
        mlflow.set_tag(description.TAG, describe(experiment, data, model.pretrained, all_tags, result.figures))
        if experiment.fit.log_model:
            log_checkpoint(fitted)
            log_model(data, findings, fitted, result, folder / "package")
        result = replace(result, disk_bytes=tracked.disk_bytes())
    shutil.rmtree(folder)
    return result


def _fit_on_other_rank(data: EmotionData, model: Model, ranks: Ranks, folder: Path) -> None:
    """Takes part in the training of rank zero. An estimator is fitted by rank zero alone."""
    if not model.trains_in_steps:
        return
    # if Lightning started the ranks, rank zero handles the signals (ddp.exit_with_rank_zero)
    with nullcontext() if ranks.starter == "lightning" else signals.raised():
        fit(data, model, folder, lambda *_: None, Console(quiet=True))


def work_folder(run_id: str) -> Path:
    """Returns the folder that holds a run's checkpoints until it has finished."""
    return store.ROOT / "checkpoints" / run_id

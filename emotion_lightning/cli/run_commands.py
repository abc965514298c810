"""The commands that train or look at clips: train, tune, audit, sanity.

Heavy imports are inside the functions, so that help and messages appear at once.
"""

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table

from emotion_lightning.cli.app import all_overrides, app, console, report_stop
from emotion_lightning.cli.console import print_error
from emotion_lightning.cli.options import (
    CacheDir,
    CorporaNames,
    DataDir,
    ExperimentName,
    Jobs,
    Overrides,
)
from emotion_lightning.config import loader as settings
from emotion_lightning.config import ranks
from emotion_lightning.errors import UserError
from emotion_lightning.studies.engine import Choice
from emotion_lightning.tuning.request import INNER_FOLDS


@app.command()
def train(
    name: ExperimentName,
    overrides: Overrides = None,
    data: DataDir = None,
    cache: CacheDir = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="resume this killed run (its id, or the beginning of it)"),
    ] = None,
    corpora: CorporaNames = None,
    folds: Annotated[
        str | None, typer.Option("--folds", help="all: train every fold of the protocol, and report their mean")
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Train one experiment, test it once, and write everything to MLflow.

    Example: `emotion-lightning train resnet_aug_small protocol=speaker_folds protocol.fold=2 --data ~/corpora`
    """
    assignments = all_overrides(overrides, corpora, data, cache)
    if folds is not None:
        _train_all_folds(name, assignments, folds, resume, jobs)
        return
    if jobs is not None:
        raise UserError("JOBS: one run is one job; FOLDS=all trains every fold, several at once")
    experiment = settings.load(name, assignments)
    ranks.resolve_ranks(experiment.fit)
    from emotion_lightning.tracking import resume as resuming
    from emotion_lightning.tracking.disk import megabytes
    from emotion_lightning.tracking.signals import Killed
    from emotion_lightning.train import train as run

    try:
        result = run(experiment, console, resuming.check(experiment, resume) if resume else None)
    except Killed as killed:
        if killed.run_id:
            print_error(
                f"run {killed.run_id[:8]} was killed; the same command with RESUME={killed.run_id[:8]} resumes it"
            )
        raise typer.Exit(128 + killed.signum) from None
    if result is None:
        return
    console.print(_score_table(result.figures, f"{experiment.title_prefix}{name} · {experiment.protocol.name}"))
    size = "" if result.disk_bytes is None else f" · {megabytes(result.disk_bytes)} on disk"
    console.print(f"{result.seconds:.0f} s{size} · {result.address}", soft_wrap=True)


def _train_all_folds(name: str, assignments: list[str], folds: str, resume: str | None, jobs: int | None) -> None:
    if folds != "all":
        raise UserError(f'FOLDS={folds}: FOLDS=all trains every fold; SET="protocol.fold=2" trains one of them')
    if resume:
        raise UserError("RESUME: FOLDS=all resumes every killed fold by itself; leave RESUME out")
    from emotion_lightning.cli import studies as study_commands

    with report_stop(f"training of {name}"):
        complete = study_commands.all_folds(name, assignments, Choice("processes", jobs, None), console)
    if not complete:
        raise typer.Exit(1)


def _score_table(scores: Mapping[str, float], title: str) -> Table:
    from emotion_lightning.training.evaluation import validation_label

    table = Table("", "accuracy", "macro F1", "UAR", "loss", title=title)
    for label, prefix in ((validation_label(scores), "best"), ("test", "test")):
        values = (scores[f"{prefix}/{metric}"] for metric in ("accuracy", "f1", "uar", "loss"))
        table.add_row(label, *(f"{value:.3f}" for value in values))
    return table


@app.command()
def tune(
    name: ExperimentName,
    overrides: Overrides = None,
    trials: Annotated[int, typer.Option("--trials", help="trials in all, those of earlier starts included")] = 20,
    inner: Annotated[
        int, typer.Option("--inner", help="inner folds of the training side that each trial is scored on")
    ] = INNER_FOLDS,
    data: DataDir = None,
    cache: CacheDir = None,
    corpora: CorporaNames = None,
) -> None:
    """Search the ranges under `search:` of an experiment by its training side, and write experiments/EXPERIMENT_tuned.yaml.

    The test split stays closed. An interrupted search continues with the same command.
    """
    from emotion_lightning.cli.tune import tune as run

    with report_stop(f"tuning of {name}"):
        run(name, all_overrides(overrides, corpora, data, cache), trials, inner, console)


@app.command()
def audit(
    name: ExperimentName,
    overrides: Overrides = None,
    data: DataDir = None,
    cache: CacheDir = None,
    corpora: CorporaNames = None,
) -> None:
    """Show what is in two splits: speakers, clips and copies, equal and near-equal audio, sentences.

    The exit status is 1 if a promise of the protocol is broken, or if a recording is in two splits.
    """
    experiment = settings.load(name, all_overrides(overrides, corpora, data, cache))
    from emotion_lightning.cli.audit import show

    if show(experiment, console):
        raise typer.Exit(1)


@app.command()
def sanity(
    name: ExperimentName,
    overrides: Overrides = None,
    data: DataDir = None,
    cache: CacheDir = None,
    corpora: CorporaNames = None,
) -> None:
    """Train with the emotions permuted within each speaker: the test score has to be that of chance.

    The exit status is 1 if it is not.
    """
    overrides = [*all_overrides(overrides, corpora, data, cache), "data.permute_labels=true", "fit.log_model=false"]
    experiment = settings.load(name, overrides)
    from emotion_lightning.cli.sanity import sanity as check

    with report_stop(f"sanity of {name}"):
        is_chance = check(experiment, console)
    if not is_chance:
        raise typer.Exit(1)

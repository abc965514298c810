"""The commands on several runs: study, honesty, report, compare. Heavy imports are inside the functions."""

from typing import Annotated

import typer

from emotion_lightning.cli import studies as study_commands
from emotion_lightning.cli.app import all_overrides, app, console, report_stop
from emotion_lightning.cli.options import (
    CacheDir,
    CorporaNames,
    DataDir,
    EngineName,
    ExperimentName,
    Gpus,
    Jobs,
    Overrides,
)
from emotion_lightning.studies.engine import Choice


@app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="a name from experiments/studies, or a YAML file")],
    overrides: Overrides = None,
    data: DataDir = None,
    cache: CacheDir = None,
    corpora: CorporaNames = None,
    jobs: Jobs = None,
    engine: EngineName = "processes",
    gpus: Gpus = None,
) -> None:
    """Train the missing runs of a study and write its table: reports/STUDY/index.html.

    An interrupted study continues where it stopped. Finished runs are never run again.
    """
    with report_stop(f"study {name}"):
        assignments = all_overrides(overrides, corpora, data, cache)
        complete = study_commands.study(name, assignments, Choice(engine, jobs, gpus), console)
    if not complete:
        raise typer.Exit(1)


@app.command()
def honesty(
    name: ExperimentName,
    overrides: Overrides = None,
    data: DataDir = None,
    cache: CacheDir = None,
    corpora: CorporaNames = None,
    folds: Annotated[int | None, typer.Option("--folds", help="run at most so many folds of each protocol")] = None,
    jobs: Jobs = None,
    engine: EngineName = "processes",
    gpus: Gpus = None,
) -> None:
    """Train one model under four protocols (leaky rows, by clip, by speaker, by sentence) and write one table and figure."""
    with report_stop(f"honesty of {name}"):
        assignments = all_overrides(overrides, corpora, data, cache)
        complete = study_commands.honesty(name, assignments, folds, Choice(engine, jobs, gpus), console)
    if not complete:
        raise typer.Exit(1)


@app.command()
def report(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="a study that has been run, at least in part")],
) -> None:
    """Write a study's report again from MLflow, without training."""
    study_commands.report(name, console)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="a finished run's id, or an arm's name")],
    b: Annotated[str, typer.Argument(help="another one, tested on the same clips")],
    study: Annotated[str | None, typer.Option("--study", help="the study whose arms they are")] = None,
) -> None:
    """Test whether one run or arm is better than another, clip by clip."""
    study_commands.compare(a, b, study, console)

"""The commands behind the Makefile. Heavy imports are inside the functions, so that help and messages appear at once."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from emotion_lightning.cli.console import CommandConsole, file_message, print_error, replace_unprintable
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
from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts, ranks
from emotion_lightning.errors import UserError, listed
from emotion_lightning.studies.engine import Choice
from emotion_lightning.tracking import shutdown
from emotion_lightning.tuning.request import INNER_FOLDS

app = typer.Typer(
    help="Speech emotion recognition experiments on PyTorch Lightning, tracked in MLflow, honest about their splits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = CommandConsole()


@app.callback()
def common(
    parts_folder: Annotated[
        Path | None,
        typer.Option("--parts", help="a folder of your own corpora/, models/, augment/ … (docs/adding.md)"),
    ] = None,
) -> None:
    if parts_folder:
        if not parts_folder.is_dir():
            raise UserError(f"PARTS: there is no folder '{parts_folder}'")
        os.environ[parts.ENVIRONMENT] = str(parts_folder.resolve())


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
    assignments = _assignments(overrides, corpora, data, cache)
    if folds is not None:
        _train_all_folds(name, assignments, folds, resume, jobs)
        return
    if jobs is not None:
        raise UserError("JOBS: one run is one job; FOLDS=all trains every fold, several at once")
    experiment = settings.load(name, assignments)
    ranks.resolve_ranks(experiment.fit)
    from emotion_lightning.tracking import resume as resuming
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
    console.print(f"{result.seconds:.0f} s · {result.address}", soft_wrap=True)


def _train_all_folds(name: str, assignments: list[str], folds: str, resume: str | None, jobs: int | None) -> None:
    if folds != "all":
        raise UserError(f'FOLDS={folds}: FOLDS=all trains every fold; SET="protocol.fold=2" trains one of them')
    if resume:
        raise UserError("RESUME: FOLDS=all resumes every killed fold by itself; leave RESUME out")
    from emotion_lightning.cli import studies as study_commands

    with _report_stop(f"training of {name}"):
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


@app.command("data")
def data_command(
    name: Annotated[str, typer.Argument(metavar="CORPUS", help="ravdess, savee, demo …")],
    data: DataDir = None,
    cache: CacheDir = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="compare each file with the official one (SHA-256); exit status 1 if a file differs, is missing, is not "
            "a WAV file (which cannot be compared), or has a name that is not official",
        ),
    ] = False,
) -> None:
    """Download a corpus from its official source, or say how to get it, and check its files."""
    from emotion_lightning.data import download

    folders = (data or Path("data"), cache or Path(".cache"))
    download.data_command(name, *folders, console)
    if verify:
        from emotion_lightning.data.verify import verify_command

        if not verify_command(name, *folders, console):
            raise typer.Exit(1)


@app.command()
def weights(
    name: Annotated[
        str | None, typer.Argument(metavar="WEIGHTS", help="fetch and check these; without a name, list all")
    ] = None,
) -> None:
    """List the pretrained weights, or fetch one set and compare its SHA-256."""
    from emotion_lightning.cli import weights as weight_commands

    if name:
        weight_commands.fetch_and_check(name, console)
    else:
        weight_commands.show(console)


@app.command()
def predict(
    audio: Annotated[Path, typer.Argument(metavar="AUDIO", help="a sound file, or a folder of them")],
    run: Annotated[str, typer.Option("--run", help="id of a finished run, or the beginning of it")],
) -> None:
    """Print the probability of every emotion for each clip, the most probable first."""
    from emotion_lightning.predict import predict as predictions

    faults = []
    for number, prediction in enumerate(predictions(audio, run)):
        if number == 0:
            console.print("file: emotions with their probabilities, the most probable first")
        name = prediction.path.relative_to(audio) if audio.is_dir() else prediction.path.name
        if prediction.fault:
            faults.append(f"{name}: {prediction.fault}")
            continue
        ordered = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
        note = f" ({prediction.note})" if prediction.note else ""
        shown = ", ".join(f"{emotion} {probability:.3f}" for emotion, probability in ordered)
        console.print(f"{name}: {shown}{note}", soft_wrap=True, markup=False)
    if faults:
        count = len(faults)
        raise UserError(listed(f"{count} file{'s' * (count > 1)} could not be decoded", faults))


@app.command()
def experiments() -> None:
    """List the experiments, the studies, and the published figures that reports show next to ours."""
    from emotion_lightning.report import claims
    from emotion_lightning.studies import study as studies

    table = Table("experiment", "what it is", title="make train EXP=…")
    for name in settings.names():
        table.add_row(name, settings.load(name).about)
    console.print(table)
    table = Table("study", "what it is", title="make study STUDY=…")
    for name in studies.names():
        table.add_row(name, studies.load(name).about)
    console.print(table)
    table = Table("claims", "figures", "source", title="published figures")
    for (file, source), count in Counter((c.file, c.source) for c in claims.load()).items():
        table.add_row(Path(file).stem, str(count), source)
    console.print(table)


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
    from emotion_lightning.cli import studies as study_commands

    with _report_stop(f"study {name}"):
        assignments = _assignments(overrides, corpora, data, cache)
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
    from emotion_lightning.cli import studies as study_commands

    with _report_stop(f"honesty of {name}"):
        assignments = _assignments(overrides, corpora, data, cache)
        complete = study_commands.honesty(name, assignments, folds, Choice(engine, jobs, gpus), console)
    if not complete:
        raise typer.Exit(1)


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

    with _report_stop(f"tuning of {name}"):
        run(name, _assignments(overrides, corpora, data, cache), trials, inner, console)


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
    experiment = settings.load(name, _assignments(overrides, corpora, data, cache))
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
    overrides = [*_assignments(overrides, corpora, data, cache), "data.permute_labels=true", "fit.log_model=false"]
    experiment = settings.load(name, overrides)
    from emotion_lightning.cli.sanity import sanity as check

    with _report_stop(f"sanity of {name}"):
        is_chance = check(experiment, console)
    if not is_chance:
        raise typer.Exit(1)


@app.command()
def report(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="a study that has been run, at least in part")],
) -> None:
    """Write a study's report again from MLflow, without training."""
    from emotion_lightning.cli import studies as study_commands

    study_commands.report(name, console)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="a finished run's id, or an arm's name")],
    b: Annotated[str, typer.Argument(help="another one, tested on the same clips")],
    study: Annotated[str | None, typer.Option("--study", help="the study whose arms they are")] = None,
) -> None:
    """Test whether one run or arm is better than another, clip by clip."""
    from emotion_lightning.cli import studies as study_commands

    study_commands.compare(a, b, study, console)


@app.command("import-run")
def import_run(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="mlruns/outbox/<run id>, or such a folder of another machine")
    ],
) -> None:
    """Send a stored run to the tracking server that was unreachable when it ended (docs/tracking.md).

    Sending a run again changes nothing.
    """
    from emotion_lightning.tracking import run as tracking

    console.print(f"the run is at {tracking.import_run(folder)}", soft_wrap=True)


@app.command()
def ui(port: Annotated[int, typer.Option(help="port on 127.0.0.1", min=1, max=65535)] = 5000) -> None:
    """Open MLflow's web pages for mlruns/, on this machine only."""
    from emotion_lightning.tracking.ui import serve

    serve(port, console.print)


def _assignments(
    overrides: list[str] | None, corpora: str | None, data: Path | None, cache: Path | None
) -> list[str]:
    """Returns all overrides of a command: those of the options first, so that the user's own have precedence."""
    import json

    names = [] if corpora is None else [f"corpora={json.dumps(corpora.replace(',', ' ').split())}"]
    folders = [f"data.{key}={json.dumps(str(path))}" for key, path in (("dir", data), ("cache", cache)) if path]
    return [*names, *(overrides or []), *folders]


@contextmanager
def _report_stop(title: str) -> Iterator[None]:
    from emotion_lightning.tracking.signals import Killed

    try:
        yield
    except Killed as killed:
        print_error(f"{title} was stopped; the same command continues it")
        raise typer.Exit(128 + killed.signum) from None


def main() -> None:
    """Runs the command line; an error that the user can correct is printed as one line, with exit status 2."""
    from emotion_lightning.tracking.signals import Killed

    replace_unprintable()
    try:
        app()
    except Killed as killed:  # of a command without a run
        shutdown.fast_exit(128 + killed.signum)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            raise
        shutdown.fast_exit(stop.code or 0)
    except UserError as error:
        print_error(ranks.with_rank(str(error)))
        shutdown.fast_exit(2)
    except Exception as error:
        message = (_server_message(error) if "mlflow" in sys.modules else "") or file_message(error)
        if not message:
            raise
        print_error(message)
        shutdown.fast_exit(2)


def _server_message(error: Exception) -> str:
    """Returns the message for a server that became unreachable during a command; empty for any other error."""
    from emotion_lightning.tracking import server, store

    return (
        server.unreachable_message(store.shown_uri(), server.short_reason(error))
        if server.is_unreachable(error)
        else ""
    )


if __name__ == "__main__":
    main()

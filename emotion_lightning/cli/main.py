"""The commands behind the Makefile. Heavy imports stand inside them, so that help and a typo's message come at once."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts, ranks
from emotion_lightning.errors import UserError
from emotion_lightning.studies.engine import Choice, Name
from emotion_lightning.tracking import shutdown as ending

app = typer.Typer(
    help="Speech emotion recognition experiments on PyTorch Lightning, tracked in MLflow, honest about their splits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = Console()
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]…", help="settings that win over the file's, such as fit.devices=2"),
]
DataDir = Annotated[
    Path | None, typer.Option("--data", help="folder that holds the corpora, one folder each (data.dir)")
]
CacheDir = Annotated[
    Path | None, typer.Option("--cache", help="folder for cached waveforms and features (data.cache)")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", help="runs at once, each a process: 1, on a cluster as many as it has processors or GPUs"),
]
EngineName = Annotated[
    Name, typer.Option("--engine", help="what the runs are: processes of this machine, or tasks on a Ray cluster")
]
Gpus = Annotated[float | None, typer.Option("--gpus", help="GPU of a run on a cluster: 1, or a share such as 0.25")]


@app.callback()
def common(
    parts_folder: Annotated[
        Path | None,
        typer.Option("--parts", help="a folder of your own corpora/, models/, augment/ … (docs/adding.md)"),
    ] = None,
) -> None:
    if parts_folder:
        os.environ[parts.ENVIRONMENT] = str(parts_folder.resolve())


@app.command()
def train(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a name from `experiments`, or a YAML file")],
    overrides: Overrides = None,
    data: DataDir = None,
    cache: CacheDir = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN", help="go on in this run after a kill (its id, or the beginning of it)"
        ),
    ] = None,
) -> None:
    """Train one experiment, test it once, and write everything to MLflow.

    Example: `emotion-lightning train resnet_aug_small protocol=speaker_folds protocol.fold=2 --data ~/corpora`
    """
    experiment = settings.load(name, [*(overrides or []), *_folders(data, cache)])
    ranks.resolve_ranks(experiment.fit)
    from emotion_lightning.tracking import resume as resuming
    from emotion_lightning.tracking.signals import Killed
    from emotion_lightning.train import train as run

    try:
        result = run(experiment, console, resuming.check(experiment, resume) if resume else None)
    except Killed as killed:
        if killed.run_id:
            _say_error(
                f"run {killed.run_id[:8]} was killed; the same command with RESUME={killed.run_id[:8]} goes on with it"
            )
        raise typer.Exit(128 + killed.signum) from None
    if result is None:
        return
    table = Table(
        "",
        "accuracy",
        "macro F1",
        "UAR",
        "loss",
        title=experiment.title_prefix + f"{name} · {experiment.protocol.name}",
    )
    for row, side in (("best epoch, validation", "best"), ("test", "test")):
        table.add_row(
            row, *(f"{result.figures[f'{side}/{metric}']:.3f}" for metric in ("accuracy", "f1", "uar", "loss"))
        )
    console.print(table)
    epoch = f"best epoch {result.figures['best/epoch'] + 1:.0f} · " if "best/epoch" in result.figures else ""
    console.print(f"{epoch}{result.seconds:.0f} s · {result.address}", soft_wrap=True)


@app.command("data")
def data_command(
    name: Annotated[str, typer.Argument(metavar="CORPUS", help="ravdess, savee, demo …")],
    data: DataDir = None,
    cache: CacheDir = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="compare each file with the official one (SHA-256); status 1 if one differs, is missing, is no WAV "
            "and so cannot be compared, or has a name that is not official",
        ),
    ] = False,
) -> None:
    """Fetch a corpus from its official place, or say how to get it, and check what is there."""
    from emotion_lightning.data import download

    places = (data or Path("data"), cache or Path(".cache"))
    download.data_command(name, *places, console)
    if verify:
        from emotion_lightning.data.verify import verify_command

        if not verify_command(name, *places, console):
            raise typer.Exit(1)


@app.command()
def predict(
    audio: Annotated[Path, typer.Argument(metavar="AUDIO", help="a sound file, or a folder of them")],
    run: Annotated[str, typer.Option("--run", help="id of a finished run, or the beginning of it")],
) -> None:
    """Print the probability of every emotion for each clip, the likeliest first."""
    from emotion_lightning.predict import predict as predictions

    faults = []
    for found in predictions(audio, run):
        shown = found.path.relative_to(audio) if audio.is_dir() else found.path.name
        if found.fault:
            faults.append(f"{shown}: {found.fault}")
            continue
        likeliest_first = sorted(found.probabilities.items(), key=lambda item: -item[1])
        console.print(f"{shown}: " + ", ".join(f"{e} {p:.3f}" for e, p in likeliest_first), soft_wrap=True)
    if faults:
        raise UserError("\n".join([f"{len(faults)} files could not be heard", *faults]))


@app.command()
def experiments() -> None:
    """List the experiments, the studies, and the published figures that reports show beside ours."""
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
    jobs: Jobs = None,
    engine: EngineName = "processes",
    gpus: Gpus = None,
) -> None:
    """Train what a study is missing and write its table: reports/STUDY/index.html.

    A study that was broken off goes on where it was; what has finished is never run again.
    """
    from emotion_lightning.cli import studies as study_commands

    with _told_when_stopped(f"study {name}"):
        said = [*(overrides or []), *_folders(data, cache)]
        complete = study_commands.study(name, said, Choice(engine, jobs, gpus), console)
    if not complete:
        raise typer.Exit(1)


@app.command()
def honesty(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a name from `experiments`, or a YAML file")],
    overrides: Overrides = None,
    data: DataDir = None,
    cache: CacheDir = None,
    folds: Annotated[int | None, typer.Option("--folds", help="run only so many folds of each protocol")] = None,
    jobs: Jobs = None,
    engine: EngineName = "processes",
    gpus: Gpus = None,
) -> None:
    """One model under four protocols: leaky rows, by clip, by speaker, by sentence; one table and one figure."""
    from emotion_lightning.cli import studies as study_commands

    with _told_when_stopped(f"honesty of {name}"):
        said = [*(overrides or []), *_folders(data, cache)]
        complete = study_commands.honesty(name, said, folds, Choice(engine, jobs, gpus), console)
    if not complete:
        raise typer.Exit(1)


@app.command()
def audit(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a name from `experiments`, or a YAML file")],
    overrides: Overrides = None,
    data: DataDir = None,
    cache: CacheDir = None,
) -> None:
    """Who stands on both sides of an experiment's split: speakers, clips and copies, equal and near-equal audio, sentences.

    Exit status 1 if a promise of the protocol is broken, or if a recording stands on two sides.
    """
    experiment = settings.load(name, [*(overrides or []), *_folders(data, cache)])
    from emotion_lightning.cli.audit import show

    if show(experiment, console):
        raise typer.Exit(1)


@app.command()
def report(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="a study that has been run, if only in part")],
) -> None:
    """Make a study's report anew from MLflow, without training."""
    from emotion_lightning.cli import studies as study_commands

    study_commands.report(name, console)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="a finished run's id, or an arm's name")],
    b: Annotated[str, typer.Argument(help="another one, that was tested on the same clips")],
    study: Annotated[str | None, typer.Option("--study", help="the study whose arms they are")] = None,
) -> None:
    """Test whether one run or arm is better than another, clip by clip."""
    from emotion_lightning.cli import studies as study_commands

    study_commands.compare(a, b, study, console)


@app.command("import-run")
def import_run(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="mlruns/outbox/<run id>, or such a folder moved here")
    ],
) -> None:
    """Send a run to the tracking server that was away when the run ended; twice does no harm (docs/tracking.md)."""
    from emotion_lightning.tracking import run as tracking

    console.print(f"the run is at {tracking.import_run(folder)}", soft_wrap=True)


@app.command()
def ui(port: Annotated[int, typer.Option(help="on 127.0.0.1")] = 5000) -> None:
    """Open MLflow's web pages for mlruns/, on this machine only."""
    from emotion_lightning.tracking.ui import serve

    serve(port, console.print)


def _folders(data: Path | None, cache: Path | None) -> list[str]:
    import json

    return [f"data.{key}={json.dumps(str(path))}" for key, path in (("dir", data), ("cache", cache)) if path]


@contextmanager
def _told_when_stopped(what: str) -> Iterator[None]:
    from emotion_lightning.tracking.signals import Killed

    try:
        yield
    except Killed as killed:
        _say_error(f"{what} was stopped; the same command goes on with it")
        raise typer.Exit(128 + killed.signum) from None


def main() -> None:
    try:
        app()
    except SystemExit as done:
        if isinstance(done.code, str):
            raise
        ending.leave(done.code or 0)
    except UserError as error:
        _say_error(ranks.with_rank(str(error)))
        ending.leave(2)
    except Exception as error:
        if "mlflow" not in sys.modules or not (said := _said_of_a_server(error)):
            raise
        _say_error(said)
        ending.leave(2)


def _said_of_a_server(error: Exception) -> str:
    """What is said of a server that went away in the middle of a command; empty for any other error."""
    from emotion_lightning.tracking import server, store

    return server.away(store.uri(), server.why(error)) if server.is_away(error) else ""


def _say_error(message: str) -> None:
    Console(stderr=True).print("[red]error:[/]", Text(message), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()

"""The commands on what runs need and leave: data, weights, experiments, import-run, prune, ui.

Heavy imports are inside functions.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from emotion_lightning.cli.app import app, console
from emotion_lightning.cli.options import CacheDir, DataDir
from emotion_lightning.config import loader as settings


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
def prune(
    older: Annotated[
        str | None, typer.Option(help="runs that ended so long ago: 30d, 12h (default: 30d, with --study 0d)")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="only the runs that this study uses and no other one does")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="runs that studies use as well")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="delete what is listed")] = False,
) -> None:
    """List old runs of mlruns/ with their age and size; with --yes, delete them with all of their files.

    Running runs and registered models are never deleted. Runs that were deleted on MLflow's page are listed at any age.
    """
    from emotion_lightning.cli.prune import prune_command

    prune_command(older, study, everything, yes, console)


@app.command()
def ui(port: Annotated[int, typer.Option(help="port on 127.0.0.1", min=1, max=65535)] = 5000) -> None:
    """Open MLflow's web pages for mlruns/, on this machine only."""
    from emotion_lightning.tracking.ui import serve

    serve(port, console.print)

"""The commands that take a trained model elsewhere: export. Heavy imports are inside the functions."""

from pathlib import Path
from typing import Annotated

import typer

from emotion_lightning.cli.app import app, console
from emotion_lightning.cli.options import CacheDir, DataDir, Model, Run


@app.command()
def export(
    run: Run = None,
    model: Model = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder to write (default: exports/ and the run's id or model's name)"),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="also write a file whose network has weights of 8 bits")
    ] = False,
    audio: Annotated[
        str | None, typer.Option("--audio", help="sounds to check the export on: a file, a folder or a pattern")
    ] = None,
    data: DataDir = None,
    cache: CacheDir = None,
) -> None:
    """Write a model as ONNX, for predictions without torch, after comparing its answers with torch's.

    It is checked on AUDIO, else on test clips of the run's corpora, else on generated voices.
    """
    from emotion_lightning.cli.export import export_command

    export_command(run, model, out, int8, audio, data, cache, console)

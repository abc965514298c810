"""The commands on trained models: predict, explain, register, serve, app, export. Heavy imports are inside the functions."""

from pathlib import Path
from typing import Annotated

import typer

from emotion_lightning.cli.app import all_overrides, app, console
from emotion_lightning.cli.options import CacheDir, DataDir, MinConfidence, Model, Run
from emotion_lightning.errors import UserError
from emotion_lightning.explain import Method


@app.command()
def predict(
    audio: Annotated[
        str | None, typer.Argument(metavar="AUDIO", help="a sound file, a folder, or a pattern such as 'calls/*.wav'")
    ] = None,
    run: Run = None,
    model: Model = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="write all probabilities to this .csv or .json file")
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="segments of one emotion, with a picture and a label file for Audacity")
    ] = False,
    min_confidence: MinConfidence = None,
    mic: Annotated[
        float | None, typer.Option("--mic", min=0.1, max=600, help="seconds to record from the microphone")
    ] = None,
) -> None:
    """Print the emotion of sound files, with its calibrated probability and the next best one."""
    if bool(audio) == (mic is not None):
        raise UserError("AUDIO: a file, a folder or a pattern is needed, or MIC=<seconds>, which records")
    if out and (out.suffix.lower() not in (".csv", ".json") or out.is_dir()):
        raise UserError(f"OUT: '{out}' is not the name of a .csv or .json file")
    from emotion_lightning.cli.predict import predict_command, record
    from emotion_lightning.predict import open_model, sound_files

    files = sound_files(audio or record(mic or 0, console))
    predict_command(files, open_model(run, model, min_confidence), out, timeline, console)


@app.command()
def explain(
    run: Annotated[str, typer.Argument(metavar="RUN", help="id of a finished run, or the beginning of it")],
    audio: Annotated[
        Path | None, typer.Option("--audio", help="also show which time and band of this sound file mattered")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="mistakes that are shown with their sound")] = 12,
    map_: Annotated[
        Method, typer.Option("--map", help="how the map of the clips is reduced to two dimensions")
    ] = "pca",
    data: DataDir = None,
    cache: CacheDir = None,
) -> None:
    """Write a page of a run's errors on the test split: reports/explain/RUN/index.html.

    Most confident mistakes with their sounds, accuracy by group, confused emotions, and a map of the clips.
    """
    from emotion_lightning.cli.explain import explain as write

    write(run, all_overrides(None, None, data, cache), audio, top, map_, console)


@app.command()
def register(
    run: Annotated[str, typer.Option("--run", help="id of a finished run, or the beginning of it")],
    name: Annotated[str, typer.Option("--name", help="name in MLflow's model registry")],
) -> None:
    """Register a run's model; it becomes the champion if the paired test on the same clips says that it is better."""
    from emotion_lightning.cli.register import register as run_it

    run_it(run, name, console)


@app.command()
def serve(
    run: Run = None,
    model: Model = None,
    host: Annotated[
        str, typer.Option("--host", help="address to listen on; another one than 127.0.0.1 is public")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 5002,
    max_mb: Annotated[
        float, typer.Option("--max-mb", min=0.01, help="largest request in MB; a larger one gets 413")
    ] = 25,
    timeout: Annotated[
        int, typer.Option("--timeout", min=1, help="seconds for a request; after them it gets 504")
    ] = 60,
) -> None:
    """Serve a model with MLflow's scoring server: POST /invocations, GET /ping."""
    from emotion_lightning.serving.find import mlflow_folder
    from emotion_lightning.serving.server import serve as run_server

    run_server(
        mlflow_folder(run, model), host, port, max_mb, timeout, lambda line: console.print(line, soft_wrap=True)
    )


@app.command("app")
def app_command(
    run: Run = None,
    model: Model = None,
    min_confidence: MinConfidence = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 7860,
    host: Annotated[
        str, typer.Option("--host", help="another address than this machine's own, for example 0.0.0.0")
    ] = "127.0.0.1",
) -> None:
    """Open a page on this machine that recognises uploaded and recorded sounds."""
    from emotion_lightning.app.server import serve
    from emotion_lightning.serving.find import package_folder

    serve(package_folder(run, model), min_confidence, host, port, lambda line: console.print(line, soft_wrap=True))


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

"""The commands on trained models: register, serve. Heavy imports are inside the functions."""

from typing import Annotated

import typer

from emotion_lightning.cli.app import app, console
from emotion_lightning.cli.options import Model, Run


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

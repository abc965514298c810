"""The arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from emotion_lightning.studies.engine import Name

ExperimentName = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="a name from `experiments`, or a YAML file")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY.PATH=VALUE]…", help="settings that replace those of the file, such as fit.devices=2"
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data", help="folder that holds the corpora, one folder each (data.dir)")
]
CacheDir = Annotated[
    Path | None, typer.Option("--cache", help="folder for cached waveforms and features (data.cache)")
]
CorporaNames = Annotated[
    str | None,
    typer.Option("--corpora", help='use these corpora only: "emodb savee"; those of the file keep their settings'),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        help="runs at once, each in a process (default: 1; on a cluster, as many as it has processors or GPUs)",
    ),
]
Run = Annotated[str | None, typer.Option("--run", help="id of a finished run, or the beginning of it")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="a folder with a model, or a registered name: name, name@alias or name/version"),
]
MinConfidence = Annotated[
    float | None,
    typer.Option("--min-confidence", min=0, max=1, help="answer `uncertain` below it (answer.min_confidence)"),
]
EngineName = Annotated[
    Name,
    typer.Option("--engine", help="where the runs are: in processes of this machine, or as tasks on a Ray cluster"),
]
Gpus = Annotated[
    float | None, typer.Option("--gpus", help="GPUs for each run on a cluster: 1, or a share such as 0.25")
]

"""Finds the model package that a command is about: of a run, of the model registry, or in a folder."""

from pathlib import Path

import mlflow
import yaml
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from emotion_lightning.errors import UserError
from emotion_lightning.serving.package import ABOUT
from emotion_lightning.tracking import store
from emotion_lightning.training import kept

CHAMPION = "champion"
"""The alias of the registered version that a name alone means."""


def package_folder(run: str | None = None, model: str | None = None) -> Path:
    """Returns the package of a run (its id, or the beginning of it), or of a model: a folder, or a registered name.

    A registered name is `name`, `name@alias` or `name/version`; the name alone is its champion, else the newest version.

    Raises: UserError for no or both of them, and for one that has no package.
    """
    if bool(run) == bool(model):
        raise UserError("RUN or MODEL: one of them is needed: the id of a run, or a folder or a registered name")
    if run:
        return _in_mlflow_model(_download(f"models:/{_logged_model(kept.find(run))}"))
    folder = Path(str(model)).expanduser()
    return _in_folder(folder) if folder.is_dir() else _in_mlflow_model(_download(_registered(str(model))))


def _logged_model(run: Run) -> str:
    """Returns the id of the MLflow model that a run has logged."""
    kept.require_single_files(run)
    if run.outputs and run.outputs.model_outputs:
        return str(run.outputs.model_outputs[-1].model_id)
    name = run.info.run_id
    raise UserError(
        f"run {name} ({run.info.status}) has no model; RESUME={name} finishes a run that was killed, and a run with "
        'SET="fit.log_model=true" stores one'
    )


def _registered(name: str) -> str:
    """Returns MLflow's address of a registered model."""
    client = store.connect()
    plain = name.split("@")[0].split("/")[0]
    try:
        found = client.get_registered_model(plain)
    except MlflowException:
        names = [m.name for m in client.search_registered_models()]
        there = (
            f"registered are: {', '.join(names)}" if names else "nothing is registered (make register RUN=… NAME=…)"
        )
        raise UserError(f"MODEL: '{name}' is neither a folder nor a registered model; {there}") from None
    if name != plain:
        return f"models:/{name}"
    return f"models:/{name}@{CHAMPION}" if CHAMPION in found.aliases else f"models:/{name}/{_newest(client, name)}"


def _newest(client: MlflowClient, name: str) -> int:
    versions = [int(version.version) for version in client.search_model_versions(f"name = '{name}'")]
    if not versions:
        raise UserError(f"MODEL: the registered model '{name}' has no version")
    return max(versions)


def _download(address: str) -> Path:
    try:
        return Path(mlflow.artifacts.download_artifacts(address))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"MODEL: the files of {address} cannot be had ({' '.join(str(error).split())[:200]})"
        ) from None


def _in_folder(folder: Path) -> Path:
    if (folder / ABOUT).is_file():
        return folder
    if (folder / "MLmodel").is_file():
        return _in_mlflow_model(folder)
    raise UserError(f"MODEL: '{folder}' is not a model: it has neither {ABOUT} nor MLmodel")


def _in_mlflow_model(folder: Path) -> Path:
    """Returns the package in the folder of an MLflow model."""
    about = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    artifacts = about.get("flavors", {}).get("python_function", {}).get("artifacts", {})
    if "package" not in artifacts:
        raise UserError(
            "the model was logged by an earlier version of emotion_lightning, or by another program; to train its run again, "
            "download its artifact settings.yaml and type: make train EXP=settings.yaml"
        )
    return folder / str(artifacts["package"]["path"])

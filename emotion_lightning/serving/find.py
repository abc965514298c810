"""Finds the model package that a command is about: of a run, of the model registry, or in a folder."""

from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from emotion_lightning.config import yaml_file
from emotion_lightning.config.paths import at_home
from emotion_lightning.errors import UserError
from emotion_lightning.serving.package import ABOUT
from emotion_lightning.tracking import store
from emotion_lightning.training import kept

CHAMPION = "champion"
"""The alias of the registered version that a name alone means."""


def mlflow_folder(run: str | None = None, model: str | None = None) -> Path:
    """Returns the folder of the MLflow model that the package of `package_folder` is in.

    Raises: UserError as there, and for a package that is not in the folder of an MLflow model.
    """
    package = package_folder(run, model)
    if not (package.parents[1] / "MLmodel").is_file():
        raise UserError(
            f"MODEL: '{package}' is a package alone; name the folder of the MLflow model, which has an MLmodel"
        )
    return package.parents[1]


def package_folder(run: str | None = None, model: str | None = None) -> Path:
    """Returns the package of a run (its id, or the beginning of it), or of a model: a folder, or a registered name.

    A registered name is `name`, `name@alias` or `name/version`; the name alone is its champion, else the newest version.

    Raises: UserError for no or both of them, and for one that has no package.
    """
    if run and model:
        raise UserError("RUN and MODEL are both given; leave one of them out")
    if not run and not model:
        raise UserError("RUN or MODEL: one of them is needed: the id of a run, or a folder or a registered name")
    if run:
        return _in_mlflow_model(_download(f"models:/{logged_model(kept.find(run))}"))
    folder = at_home(Path(str(model)))
    return _in_folder(folder) if folder.is_dir() else _in_mlflow_model(_download(_registered(str(model))))


def logged_model(run: Run) -> str:
    """Returns the id of the MLflow model that a run has logged: one that is complete."""
    kept.require_single_files(run)
    name = run.info.run_id
    found = MlflowClient().search_logged_models([run.info.experiment_id], f"source_run_id = '{name}'")
    if complete := [model.model_id for model in found if model.status == "READY"]:
        return str(complete[0])
    raise UserError(
        f"run {name} ({run.info.status}) has no model; RESUME={name} finishes a run that was killed, and a run with "
        'SET="fit.log_model=true" stores one'
    )


def _registered(name: str) -> str:
    """Returns MLflow's address of a registered model."""
    client = store.connect()
    plain, _, wanted = name.replace("@", "/@").partition("/")
    try:
        found = client.get_registered_model(plain)
    except MlflowException:
        names = [m.name for m in client.search_registered_models()]
        there = (
            f"registered models: {', '.join(names)}"
            if names
            else "nothing is registered (make register RUN=… NAME=…)"
        )
        raise UserError(f"MODEL: '{name}' is neither a folder nor a registered model; {there}") from None
    versions = versions_of(client, plain)
    if not versions:
        raise UserError(f"MODEL: the registered model '{plain}' has no version")
    newest = str(max(int(version.version) for version in versions))
    wanted = wanted or (f"@{CHAMPION}" if CHAMPION in found.aliases else newest)
    known = [v.version for v in versions] + [f"@{alias}" for alias in found.aliases]
    if wanted not in map(str, known):
        raise UserError(f"MODEL: '{plain}' has no version '{wanted}'; it has {', '.join(map(str, known))}")
    return f"models:/{plain}{wanted}" if wanted.startswith("@") else f"models:/{plain}/{wanted}"


def versions_of(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Returns the versions of a registered model, none for an unknown name."""
    quoted = name.replace("'", "''")
    try:
        return list(client.search_model_versions(f"name = '{quoted}'"))
    except MlflowException:
        return []


def _download(address: str) -> Path:
    try:
        return Path(mlflow.artifacts.download_artifacts(address))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"MODEL: the files of {address} cannot be read ({' '.join(str(error).split())[:200]})"
        ) from None


def _in_folder(folder: Path) -> Path:
    if (folder / ABOUT).is_file():
        return folder
    if (folder / "MLmodel").is_file():
        return _in_mlflow_model(folder)
    raise UserError(f"MODEL: '{folder}' is not a model: it has neither {ABOUT} nor MLmodel")


def _in_mlflow_model(folder: Path) -> Path:
    """Returns the package in the folder of an MLflow model."""
    about = yaml_file.read(folder / "MLmodel")
    try:
        package = folder / str(about["flavors"]["python_function"]["artifacts"]["package"]["path"])
    except (KeyError, TypeError):
        raise UserError(
            "the model was logged by an earlier version of emotion_lightning, or by another program; to train its run again, "
            "download its artifact settings.yaml and type: make train EXP=settings.yaml"
        ) from None
    if not package.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"MODEL: {folder / 'MLmodel'} names a package that is not in its folder")
    return package

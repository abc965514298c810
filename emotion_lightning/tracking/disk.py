"""Measures what runs take on this disk."""

from pathlib import Path
from urllib.parse import urlparse

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path


def run_folders(client: MlflowClient, run: Run) -> list[Path] | None:
    """Returns the folders of a run's artifacts and models; None if they are not on this disk."""
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    folders = [local_folder(uri) for uri in (run.info.artifact_uri, *(model.artifact_location for model in models))]
    return None if None in folders else [folder for folder in folders if folder]


def local_folder(uri: str) -> Path | None:
    """Returns the folder of an MLflow address; None if it is not on this disk."""
    return Path(local_file_uri_to_path(uri)) if urlparse(uri).scheme in ("", "file") else None


def bytes_in(folder: Path) -> int:
    """Returns the size of all files in a folder, in bytes; 0 if there is none."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def megabytes(count: int) -> str:
    """Returns a number of bytes as messages show it: 0.4 MB, 12 MB."""
    return f"{count / 1e6:.1f} MB" if count < 10e6 else f"{count / 1e6:.0f} MB"

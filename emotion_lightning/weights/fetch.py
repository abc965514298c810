"""Fetches pretrained weights from the first of their sources that has the right bytes, and checks them.

Packages are read where they are installed. The hub has a cache of its own. A file from a URL is kept in the user's cache, or
in the folder that the environment variable EMOTION_LIGHTNING_WEIGHTS names.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import pooch
import requests
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from emotion_lightning.errors import UserError
from emotion_lightning.http_file import download
from emotion_lightning.weights import Source, Weights

ENVIRONMENT = "EMOTION_LIGHTNING_WEIGHTS"
INSTALL = "make weights, or pip install 'emotion-lightning[weights]', installs it"


class Missing(Exception):
    """Raised for a source that cannot give the weights; the message is the reason."""


@dataclass(frozen=True)
class Found:
    """Files that hold the right bytes, one after the other, and the source that they came from."""

    files: tuple[Path, ...]
    source: str

    def content(self) -> bytes:
        """Returns the bytes of all files, joined."""
        return b"".join(file.read_bytes() for file in self.files)


def fetch(weights: Weights, quiet: bool = True) -> Found:
    """Returns the verified files of the weights, from this machine if they are here, else downloaded.

    Raises: UserError with the reason of each source, if none of them has the right bytes.
    """
    if found := find(weights):
        return found
    reasons = []
    for source in weights.sources:
        try:
            return _verified(weights, _locate(weights, source, quiet), str(source))
        except Missing as missing:
            reasons.append(str(missing))
    raise UserError(f"the weights {weights.name} cannot be had: {'; '.join(reasons)}")


def find(weights: Weights) -> Found | None:
    """Returns the verified files of the weights if they are on this machine. Downloads nothing."""
    for source in weights.sources:
        try:
            return _verified(weights, _locate(weights, source, quiet=True, online=False), str(source))
        except Missing:
            continue
    return None


def folder() -> Path:
    """Returns the folder that files from a URL are kept in."""
    return Path(os.environ.get(ENVIRONMENT) or pooch.os_cache("emotion-lightning") / "weights")


def _locate(weights: Weights, source: Source, quiet: bool, online: bool = True) -> tuple[Path, ...]:
    if source.packages:
        return tuple(_in_package(package, file) for package, file in source.packages.items())
    if source.hub:
        return (_from_hub(source, online),)
    return (_from_url(weights, source, quiet, online),)


def _in_package(package: str, file: str) -> Path:
    try:
        path = Path(str(metadata.distribution(package).locate_file(file)))
    except metadata.PackageNotFoundError:
        raise Missing(f"the package {package} is not installed ({INSTALL})") from None
    if not path.is_file():
        raise Missing(f"the package {package} has no file {file}")
    return path


def _from_hub(source: Source, online: bool) -> Path:
    where = (source.hub, source.file)
    if isinstance(stored := try_to_load_from_cache(*where, revision=source.revision), str):
        return Path(stored)
    if not online:
        raise Missing(f"{source} was not asked")
    use_hub_offline_if_unreachable()
    try:
        return Path(hf_hub_download(*where, revision=source.revision))
    except LocalEntryNotFoundError:
        raise Missing(f"{source} cannot be reached") from None
    except (HfHubHTTPError, OSError) as error:
        raise Missing(f"{source}: {' '.join(str(error).split())[:120]}") from None


def _from_url(weights: Weights, source: Source, quiet: bool, online: bool) -> Path:
    file = folder() / f"{weights.name}-{weights.sha256[:16]}"
    if file.is_file():
        return file
    if not online:
        raise Missing(f"{source.url} was not asked")
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        download(weights.name, source.url, weights.size, part, quiet)
        _verified(weights, (part,), source.url)
        part.replace(file)
    except (OSError, UserError) as error:
        raise Missing(str(error)) from None
    except Missing:
        part.unlink()
        raise
    return file


def _verified(weights: Weights, files: tuple[Path, ...], source: str) -> Found:
    """Returns the files if their bytes, joined, have the right digest. Raises Missing otherwise."""
    size, digest = 0, hashlib.sha256()
    try:
        for path in files:
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
    except OSError as error:
        raise Missing(f"{source}: {error}") from None
    if digest.hexdigest() != weights.sha256:
        raise Missing(
            f"{source}: its SHA-256 is {digest.hexdigest()[:16]}… of {size} bytes, not {weights.sha256[:16]}… of {weights.size}"
        )
    return Found(files, source)


@cache
def use_hub_offline_if_unreachable() -> None:
    """Sets huggingface_hub to offline mode if the hub cannot be reached.

    In offline mode it uses an earlier download or fails at once; otherwise it would retry for a minute.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        requests.head(constants.ENDPOINT, timeout=10)
    except requests.RequestException:
        constants.HF_HUB_OFFLINE = True

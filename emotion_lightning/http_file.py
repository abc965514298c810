"""Downloads one file over HTTP, and continues an interrupted download. Sizes are in bytes, times in seconds."""

import time
from pathlib import Path

import requests
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn, TransferSpeedColumn

from emotion_lightning import __version__
from emotion_lightning.errors import UserError

TIMEOUT = (15, 60)  # s: to connect, and between two pieces of the answer
TRIES = 4  # consecutive attempts without one new byte
BACK_OFF = 1.0  # s, doubled after each attempt
CHUNK = 1 << 14  # small, because a dropped connection loses the chunk that requests holds in memory
HEADERS = {
    "User-Agent": f"emotion-lightning/{__version__}",  # Zenodo refuses the default one of requests (fatiando/pooch#507)
    "Accept-Encoding": "identity",  # so that ranges count the bytes of the file
}


def download(title: str, url: str, size: int, part: Path, quiet: bool) -> None:
    """Appends to `part` what it lacks of a file of `size` bytes; `title` stands before the progress bar.

    Raises: UserError after `TRIES` consecutive requests without a new byte, and for an answer that is not this file.
    """
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=quiet) as progress:
        task = progress.add_task(title, total=size)
        furthest, failures = stored_size(part), 0
        while stored_size(part) < size:
            progress.reset(task, completed=stored_size(part))  # bytes of an earlier run must not count in the speed
            try:
                if not _receive(url, size, part, progress, task):
                    return
                reason = "the response ended early"
            except requests.RequestException as error:
                reason = str(error) if isinstance(error, requests.HTTPError) else type(error).__name__
            failures = 0 if stored_size(part) > furthest else failures + 1
            furthest = max(furthest, stored_size(part))  # so that a server that always starts at zero is given up
            if failures == TRIES:
                raise UserError(
                    f"{url} cannot be reached ({reason}); {decimal(stored_size(part))} of {decimal(size)} "
                    "are stored, run the same command again to continue"
                )
            if stored_size(part) < size:
                time.sleep(BACK_OFF * 2**failures)


def _receive(url: str, size: int, part: Path, progress: Progress, task: TaskID) -> bool:
    """Sends one request for the rest of the file. Returns False if the server has no more bytes (status 416)."""
    have = stored_size(part)
    headers = HEADERS | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:
            return False
        if response.status_code in (408, 429) or response.status_code >= 500:  # temporary errors
            raise requests.HTTPError(f"it answered {response.status_code}")
        if response.status_code not in (200, 206):
            raise UserError(f"{url} answered {response.status_code} {response.reason}")
        if (full_size := _full_size(response)) not in (None, size):
            # The bytes of earlier runs stay, because the sign-in page of a network also leads here.
            raise UserError(f"{url}: expected a file of {size} bytes, the server has {full_size}")
        if response.status_code == 200:  # the server ignores Range and sends the whole file
            have = 0
            progress.reset(task)
        with part.open("ab" if have else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress.advance(task, len(chunk))
                if have > size:  # an endless response must not fill the disk
                    break
    return True


def _full_size(response: requests.Response) -> int | None:
    """Returns the size of the whole file according to the server, or None if it is not given."""
    if response.status_code == 206:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = response.headers.get("Content-Length", "")
    return int(size) if size.isdigit() else None


def stored_size(path: Path) -> int:
    """Returns the size of a file, 0 if it is missing."""
    return path.stat().st_size if path.exists() else 0

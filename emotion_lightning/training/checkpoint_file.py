"""Writes checkpoints so that the last good one always remains: beside the old file, and moved onto it when all is on disk.

Lightning writes to the system's temporary folder and moves the file. Between two disks, that is a copy over the old
checkpoint, which a kill or a full disk leaves as half a file.
"""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from emotion_lightning.data.filesystem import replacing


def save(content: Any, file: Path) -> None:
    """Writes what torch saves to `file`, whole or not at all.

    Raises: OSError where the disk is full: torch alone would raise a RuntimeError that does not say so.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(file) as part:
        part.write_bytes(buffer.getbuffer())


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, through `save`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save(checkpoint, Path(path))

"""Writes Lightning's checkpoints so that a kill or a full disk leaves the last good one."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from emotion_lightning.data.filesystem import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its final place and renames it.

    Lightning writes to the system's temporary folder. From there a file is copied where that is another disk, so that a
    kill leaves half of it in the final place; and what a kill leaves in the temporary folder, nobody deletes.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            torch.save(checkpoint, part)

"""Reads files of weights as tensors by name. Every reader takes bytes and runs no code that is in them."""

import io
import struct
from collections.abc import Callable
from pickle import UnpicklingError

import torch
from torch import Tensor

from emotion_lightning.errors import UserError
from emotion_lightning.weights import Weights
from emotion_lightning.weights.fetch import fetch

CTRANSLATE2_VERSION = 6
CTRANSLATE2_TYPES = {
    0: torch.float32,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.float16,
    5: torch.bfloat16,
}


def tensors(weights: Weights) -> dict[str, Tensor]:
    """Returns the tensors of the weights by their names in the file; fetches them if they are not on this machine.

    Raises: UserError if no source has them, or if the file is not of its format.
    """
    content = fetch(weights).content()
    try:
        return READERS[weights.format](content)
    except (ValueError, KeyError, EOFError, RuntimeError, UnpicklingError, struct.error) as error:
        raise UserError(f"the weights {weights.name} are not in the format {weights.format} ({error})") from error


def _torch(content: bytes) -> dict[str, Tensor]:
    loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return dict(loaded)


def _safetensors(content: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(content))
    except SafetensorError as error:
        raise ValueError(error) from error


class _Fields:
    """Reads little-endian fields one after the other."""

    def __init__(self, content: bytes):
        self.content, self.position = content, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f"<{form}", self.content, self.position)
        self.position += struct.calcsize(f"<{form}")
        return int(value)

    def data(self, size: int) -> bytes:
        data = self.content[self.position : self.position + size]
        if len(data) < size:
            raise ValueError(f"the file ends {size - len(data)} bytes early")
        self.position += size
        return data

    def text(self) -> str:
        return self.data(self.number("H"))[:-1].decode()  # without the zero at its end


def ctranslate2(content: bytes) -> dict[str, Tensor]:
    """Returns the variables of a CTranslate2 model.bin of version 6, in the types of the file.

    The file has: uint32 version, specification, uint32 revision, uint32 count; then for each variable its name, uint8 rank,
    uint32 shape, uint8 type, uint32 bytes, data. A text is an uint16 length and as many bytes, of which the last is zero.
    """
    fields = _Fields(content)
    if (version := fields.number("I")) != CTRANSLATE2_VERSION:
        raise ValueError(f"version {version} instead of {CTRANSLATE2_VERSION}")
    fields.text()
    fields.number("I")
    variables = {}
    for _ in range(fields.number("I")):
        name = fields.text()
        shape = [fields.number("I") for _ in range(fields.number("B"))]
        dtype = CTRANSLATE2_TYPES[fields.number("B")]
        data = bytearray(fields.data(fields.number("I")))  # a copy that torch may write to
        variables[name] = torch.frombuffer(data, dtype=dtype).reshape(shape)
    return variables


READERS: dict[str, Callable[[bytes], dict[str, Tensor]]] = {
    "torch": _torch,
    "safetensors": _safetensors,
    "ctranslate2": ctranslate2,
}

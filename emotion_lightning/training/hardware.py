"""What this machine computes with: GPU or CPU, the precision, and the settings of the libraries."""

import ctypes
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from emotion_lightning.config.schema import Fit
from emotion_lightning.errors import UserError, lack_of_memory
from emotion_lightning.features import cpu_has_bf16

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Lightning's name of a mixed precision → the type that autocast computes in."""


def uses_gpu(fit: Fit) -> bool:
    """Returns whether a network trains on a GPU.

    Raises: UserError if the settings ask for a GPU and torch sees none.
    """
    if fit.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("fit.accelerator: gpu, but torch sees no CUDA device on this machine")
    return fit.accelerator != "cpu" and torch.cuda.is_available()


def precision(fit: Fit) -> str:
    """Returns Lightning's name of the precision: `auto` is bf16 where the processor computes in it, else 32 bits.

    On AVX512-BF16 processors, bf16 trained ResNets 1.6–3 times as fast as fp32.

    Raises: UserError for 16-mixed without a GPU.
    """
    gpu = uses_gpu(fit)
    if fit.precision == "16-mixed" and not gpu:
        raise UserError("fit.precision: 16-mixed needs a GPU (Lightning would silently take bf16 on a CPU)")
    if fit.precision == "32":
        return "32-true"
    if fit.precision != "auto":
        return fit.precision
    if gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if cpu_has_bf16() else "32-true"


@contextmanager
def lack_of_memory_as_user_error(batch: int | None) -> Iterator[None]:
    """Turns what torch and numpy raise without memory into a UserError; `batch`: clips of a training step, None without steps."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not (reason := lack_of_memory(error)):
            raise
        way_out = "fewer clips or a smaller feature need less"
        if batch and batch > 1:
            way_out = f'SET="data.batch_size={batch // 2}" needs less than {batch} clips at once'
        raise UserError(f"out of memory ({reason}); {way_out}") from error


def configure_libraries() -> None:
    """Silences the libraries' notices, and makes glibc keep large freed blocks.

    Returning a step's activations to the system and faulting them in again takes up to a third of a CPU step, less in
    bf16. `mallopt` is glibc's; elsewhere nothing changes.
    """
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    torch.set_float32_matmul_precision("high")
    if mallopt := _mallopt():
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(option, value)


def memory_format() -> str:
    """Returns the run's tag for the memory layout of tensors, and whether freed blocks are kept."""
    return "channels last, freed blocks kept" if _mallopt() else "channels last"


def _mallopt() -> Callable[[int, int], int] | None:
    return getattr(ctypes.CDLL(None), "mallopt", None)

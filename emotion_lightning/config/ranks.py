"""The processes that train one run together, started by torchrun, by srun, or by Lightning for `fit.devices`.

Everything is read from the environment, without torch, so that a contradiction is reported at once.
"""

import os
import socket
from dataclasses import dataclass
from typing import Literal

from emotion_lightning.config.schema import Fit
from emotion_lightning.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """The processes of one run, and the rank of this process among them."""

    starter: Literal["lightning", "torchrun", "srun"]
    machines: int
    devices: int  # on each machine
    rank: int  # of this process, 0 … count - 1

    @property
    def count(self) -> int:
        return self.machines * self.devices

    def check_batch_size(self, batch_size: int) -> None:
        """Raises UserError where the batch cannot be divided equally among the processes."""
        if batch_size % self.count:
            raise UserError(f"data.batch_size: {batch_size} cannot be shared evenly by {self.count} devices")


def resolve_ranks(fit: Fit) -> Ranks:
    """Returns the ranks of a run with these settings; the count is that of torchrun or srun where one of them started us.

    Raises: UserError where the environment and `fit.devices` contradict each other.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:  # first: torchrun may itself have been started by srun
        ranks = _torchrun()
    elif "SLURM_STEP_ID" in os.environ:  # the batch script has SLURM's other variables as well, but no step
        ranks = _srun()
    else:
        if (tasks := _number("SLURM_NTASKS")) > 1 and fit.devices == 1:
            raise UserError(
                f"SLURM holds {tasks} tasks for this job and only one was started: put srun before the command, or "
                "ask for --ntasks=1"
            )
        return Ranks("lightning", 1, fit.devices, current_rank())
    if fit.devices not in (1, ranks.devices):
        raise UserError(
            f"fit.devices: {fit.devices}, but {ranks.starter} started {ranks.devices} on each machine; leave one out"
        )
    return ranks


def current_rank() -> int:
    """Returns the rank of this process, 0 if it trains alone; Lightning numbers the ranks it starts by LOCAL_RANK."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _number("RANK", 0)
    return _number("SLURM_PROCID", 0) if "SLURM_STEP_ID" in os.environ else _number("LOCAL_RANK", 0)


def with_rank(message: str) -> str:
    """Puts rank and machine before a message of any rank but zero."""
    return f"rank {current_rank()} on {socket.gethostname()}: {message}" if current_rank() else message


def _torchrun() -> Ranks:
    count, devices, machines = (_number(f"{name}WORLD_SIZE") for name in ("", "LOCAL_", "GROUP_"))
    if count != devices * machines:
        raise UserError("torchrun: every machine has to start the same number of processes (--nproc-per-node)")
    return Ranks("torchrun", machines, devices, current_rank())


def _srun() -> Ranks:
    count, machines = _number("SLURM_NTASKS"), _number("SLURM_STEP_NUM_NODES")
    if count > 1 and _number("SLURM_NTASKS_PER_NODE") * machines != count:
        raise UserError(
            f"srun started {count} tasks on {machines} machines; give --ntasks-per-node, the same for all machines"
        )
    return Ranks("srun", machines, count // machines, current_rank())


def _number(variable: str, default: int = 1) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isdigit() else default

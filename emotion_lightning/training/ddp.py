"""Several processes that train one run: Lightning's arguments for them, the check that all train the same, and what happens
when one of them is stopped or lost."""

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from rich.console import Console
from rich.markup import escape
from torch import distributed

from emotion_lightning.config.ranks import Ranks
from emotion_lightning.errors import UserError
from emotion_lightning.training.checkpoint_file import WholeCheckpoints

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""A rank that does not answer for so long counts as lost, as with NCCL; gloo would wait for half an hour. Before the first
step the limit is gloo's: rank zero audits the split, and a machine may be filling its cache."""

RANK_ZERO = "EMOTION_RANK_ZERO"
"""Environment variable with the process id of rank zero, by which a rank that Lightning started sees that it is gone."""


def trainer_arguments(ranks: Ranks, freezes: bool) -> dict[str, Any]:
    """Returns the Trainer's arguments for these ranks; `freezes`: some layers are frozen in some epochs.

    Lightning must not requeue SLURM jobs: it would start from any checkpoint in the working folder.
    """
    if ranks.starter == "lightning" and ranks.rank == 0:
        os.environ[RANK_ZERO] = str(os.getpid())
    environment = {
        "lightning": LightningEnvironment,
        "torchrun": TorchElasticEnvironment,
        "srun": lambda: SLURMEnvironment(auto_requeue=False),
    }[ranks.starter]
    # a frozen parameter gets no gradient, which plain DDP would wait for
    strategy = "ddp_find_unused_parameters_true" if freezes else "ddp"
    return {
        "devices": ranks.devices,
        "num_nodes": ranks.machines,
        "strategy": strategy if ranks.count > 1 else "auto",
        "plugins": [environment(), WholeCheckpoints()],
    }


class RankConsistencyCheck(L.Callback):
    """Lets training begin only if all ranks have the same settings, clips, precision and checkpoint.

    Raises: UserError in `setup`, on every rank, with the names of what differs.
    """

    def __init__(self, inputs: dict[str, str], long_timeout: bool):
        """Takes {name: digest or value} of this rank; `long_timeout`: rank zero has long work of its own between steps."""
        self.inputs, self.long_timeout, self.all_ready = inputs, long_timeout, threading.Event()

    @contextmanager
    def waiting_notice(self, ranks: Ranks, console: Console) -> Iterator[None]:
        """Prints once a minute that this rank waits for the others: a rank that failed before it joined sends no error."""

        def notify() -> None:
            for minutes in itertools.count(1):
                if self.all_ready.wait(60):
                    return
                console.print(
                    f"waiting for all {ranks.count} processes of this run to be ready ({minutes} min so far)"
                )

        if ranks.count > 1:
            threading.Thread(target=notify, daemon=True).start()
        try:
            yield
        finally:
            self.all_ready.set()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.all_ready.set()
        if trainer.world_size == 1:
            return
        gathered: list[Any] = [None] * trainer.world_size
        distributed.all_gather_object(gathered, (socket.gethostname(), self.inputs))
        host_zero, expected = gathered[0]
        for rank, (host, inputs) in enumerate(gathered):
            if differing := [name for name in expected if inputs[name] != expected[name]]:
                raise UserError(
                    f"rank {rank} on {host} and rank 0 on {host_zero} differ in: {', '.join(differing)}; all machines "
                    "need the same command and corpora, and the same mlruns/ to resume a run (docs/scale.md)"
                )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1 and not self.long_timeout:
            distributed.distributed_c10d._set_pg_timeout(COLLECTIVE_TIMEOUT)


class RestoreSignalHandlers(L.Callback):
    """Restores the handlers of SIGTERM and SIGINT from before the fit.

    Lightning's handlers run a collective within the signal, which may never return while the other ranks are in a step.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for signum, handler in self.before.items():
            signal.signal(signum, handler)


@contextmanager
def lost_rank_as_user_error(ranks: Ranks, console: Console) -> Iterator[None]:
    """Turns the error of a lost rank into a UserError; gloo raises a bare RuntimeError, recognised by its text alone."""
    try:
        yield
    except RuntimeError as error:
        gloo = any(word in str(error) for word in ("gloo", "Connection closed by peer", "Connection reset by peer"))
        if not (gloo or isinstance(error, distributed.DistError)):
            raise
        reason = str(error).splitlines()[0]
        console.print(f"[yellow]note:[/] another process of this run is lost or cannot be reached ({escape(reason)})")
        if ranks.starter != "lightning" and ranks.rank == 0:
            # a job that is stopped as a whole loses its ranks one by one; our own SIGTERM may arrive in a moment
            time.sleep(3)
        raise UserError(
            "another process of this run was lost; its last output says why. RESUME continues from the last whole epoch"
        ) from error


def exit_with_rank_zero() -> None:
    """Makes a process that Lightning started end when rank zero ends.

    It ignores SIGTERM and SIGINT, which a terminal sends to all its processes: rank zero records how the run ended.
    """
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
    parent = os.environ[RANK_ZERO]

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def check_gpu_count(ranks: Ranks) -> None:
    """Raises UserError where this machine has fewer GPUs than processes."""
    count = torch.cuda.device_count()
    if count < ranks.devices:
        raise UserError(
            f"{ranks.devices} devices wanted on each machine, but the number of GPUs torch sees is {count}"
        )

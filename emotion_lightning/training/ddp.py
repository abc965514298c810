"""Several processes that train one run: where Lightning finds them, that all have the same before them, and what happens
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

SILENCE = timedelta(minutes=10)
"""After so long without a word a rank is taken for lost, as NCCL has it; gloo would wait for half an hour. Before the first
step all have longer: rank zero audits the split, and a machine may be filling its cache."""

RANK_ZERO = "EMOTION_RANK_ZERO"
"""Environment variable with the process id of rank zero, for those that Lightning starts: one may find itself an orphan."""


def places(ranks: Ranks, freezes: bool) -> dict[str, Any]:
    """Lightning's arguments for these ranks. SLURM jobs are not requeued by Lightning, which would start from a checkpoint
    of its own in the working folder, whichever run that was of."""
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
        "plugins": [environment()],
    }


class InStep(L.Callback):
    """Ranks begin together or not at all: each tells what it is about to train on, {what: its name}, and all have to agree."""

    def __init__(self, before: dict[str, str], patient: bool):
        """`patient`: rank zero has long work of its own between steps, so the limit of the start stays."""
        self.before, self.patient, self.met = before, patient, threading.Event()

    @contextmanager
    def awaited(self, ranks: Ranks, console: Console) -> Iterator[None]:
        """Says once a minute that others are waited for: one that has failed on its way here cannot tell."""

        def say() -> None:
            for minutes in itertools.count(1):
                if self.met.wait(60):
                    return
                console.print(
                    f"for {minutes} min now: waiting for all {ranks.count} processes of this run to be ready"
                )

        if ranks.count > 1:
            threading.Thread(target=say, daemon=True).start()
        try:
            yield
        finally:
            self.met.set()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.met.set()
        if trainer.world_size == 1:
            return
        told: list[Any] = [None] * trainer.world_size
        distributed.all_gather_object(told, (socket.gethostname(), self.before))
        first, theirs = told[0]
        for rank, (host, mine) in enumerate(told):
            if differing := [what for what in theirs if mine[what] != theirs[what]]:
                raise UserError(
                    f"rank {rank} on {host} and rank 0 on {first} differ in: {', '.join(differing)}; all machines need "
                    "the same command and corpora, and the same mlruns/ to go on with a run (docs/scale.md)"
                )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1 and not self.patient:
            distributed.distributed_c10d._set_pg_timeout(SILENCE)


class OwnSignals(L.Callback):
    """Puts back what SIGTERM and SIGINT did before the fit. Lightning's handlers speak to the other ranks from within the
    signal, which may wait for ever where these are within a step."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for signum, handler in self.before.items():
            signal.signal(signum, handler)


@contextmanager
def losses_told(ranks: Ranks, console: Console) -> Iterator[None]:
    """A rank that is gone becomes a UserError. Gloo tells it as a bare RuntimeError, known by its words only."""
    try:
        yield
    except RuntimeError as error:
        gloo = any(word in str(error) for word in ("gloo", "Connection closed by peer", "Connection reset by peer"))
        if not (gloo or isinstance(error, distributed.DistError)):
            raise
        reason = str(error).splitlines()[0]
        console.print(f"[yellow]note:[/] another process of this run is gone or cannot be reached ({escape(reason)})")
        if ranks.starter != "lightning" and ranks.rank == 0:
            # a job that is stopped as a whole loses its ranks one by one; our own SIGTERM may be on its way
            time.sleep(3)
        raise UserError(
            "another process of this run is gone; what it said last tells why. RESUME goes on from the last whole epoch"
        ) from error


def live_with_parent() -> None:
    """For a process that Lightning started on rank zero's machine: rank zero's end is its end, and signals that reach all of
    a terminal's processes are left to rank zero, which writes down how the run ended."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
    parent = os.environ[RANK_ZERO]

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def on_gpus(ranks: Ranks) -> None:
    """A UserError where this machine has fewer GPUs than processes."""
    if (there := torch.cuda.device_count()) < ranks.devices:
        raise UserError(
            f"{ranks.devices} devices wanted on each machine, and torch sees {there} GPU{'s' * (there != 1)}"
        )

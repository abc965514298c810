"""Runs a study: finished cells are left alone, killed ones are resumed, failed and missing ones are run."""

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import fmean

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from rich.console import Console

from emotion_lightning.errors import UserError
from emotion_lightning.studies import state
from emotion_lightning.studies.engine import Choice, Engine, Job, JobEvent
from emotion_lightning.studies.plan import Plan, make_plan
from emotion_lightning.studies.preflight import require_corpora
from emotion_lightning.studies.process_engine import ProcessEngine
from emotion_lightning.studies.progress import ProgressView
from emotion_lightning.studies.study import Cell, Study
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import server, signals, store
from emotion_lightning.training.schedule import cycles

MAX_STARTS = 2  # of a cell whose process dies


def make_engine(choice: Choice) -> Engine:
    """Makes the engine that was chosen.

    Raises: UserError where Ray is not installed or its cluster cannot be used.
    """
    if choice.name == "processes":
        return ProcessEngine(choice.jobs or 1)
    # Ray reads both when it is imported. The study reports dead processes itself, in one line each. Without a cluster, Ray
    # listens on 127.0.0.1 only, by a switch that is named after the systems where this is the default.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        from emotion_lightning.studies.ray_engine import RayEngine
    except ModuleNotFoundError:
        raise UserError("ENGINE=ray: Ray is not installed; pip install 'emotion-lightning[cluster]'") from None
    return RayEngine(choice)


@dataclass
class Started:
    """A cell that runs in a slot: its lock, when it started (monotonic s), and how many epochs are done."""

    signature: str
    lock: FileLock
    time: float
    epochs: int = 0


class StudyRunner:
    """Runs the cells of one study that have not finished. `reasons` says, by signature, why a cell could not be run."""

    def __init__(self, study: Study, cells: Sequence[Cell], overrides: Sequence[str], console: Console):
        """Takes the study's cells, which already contain `overrides`; the plan lists these."""
        self.study, self.cells, self.overrides, self.console = study, cells, overrides, console
        self.by_signature = {cell.experiment.signature(): cell for cell in reversed(cells)}
        self.reasons: dict[str, str] = {}
        self.queue: deque[str] = deque()
        self.busy: dict[int, Started] = {}  # by slot
        self.starts = Counter[str]()
        self.seconds: dict[str, list[float]] = defaultdict(list)  # of finished runs, by arm

    def run(self, choice: Choice, write_report: Callable[[], None]) -> dict[str, str]:
        """Runs what is missing and calls `write_report`; returns {cell: reason} of the cells without a finished run.

        Raises: UserError where the study is running already, or the engine or the tracking server cannot be used.
        """
        lock = store.ROOT / "studies" / f"{self.study.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0), signals.raised():
                return self._run(choice, write_report)
        except Timeout:
            raise UserError(
                f"study {self.study.name} is already running in this folder; a second one would double its runs"
            ) from None

    def _run(self, choice: Choice, write_report: Callable[[], None]) -> dict[str, str]:
        self.client = store.connect()
        tracking.sweep(self.client)
        states = state.states(self.client, self.by_signature)
        all_finished = all(cell.status == "finished" for cell in states.values())
        require_corpora(self.by_signature[s].experiment for s, cell_state in states.items() if cell_state.must_run)
        with closing(make_engine(Choice() if all_finished else choice)) as self.engine:  # join no cluster for nothing
            self.parent_id = state.open_parent(self.client, self._plan(), self.cells[0]).info.run_id
            status = "FAILED"
            try:
                self._run_cells()
                write_report()  # while the study's own run is still RUNNING
                unfinished = self._unfinished()
                status = "FAILED" if unfinished else "FINISHED"
            except signals.Killed as killed:
                status, killed.run_id = "KILLED", self.parent_id
                raise
            finally:
                self.client.set_terminated(self.parent_id, status)
        return unfinished

    def _plan(self) -> Plan:
        return make_plan(self.study, self.cells, self.overrides, self.reasons)

    def _unfinished(self) -> dict[str, str]:
        states = state.states(self.client, self.by_signature)
        return {
            str(cell): self.reasons.get(signature) or states[signature].reason or "not run"
            for signature, cell in self.by_signature.items()
            if states[signature].status != "finished"
        }

    def _run_cells(self) -> None:
        """Runs all cells of the queue and writes the plan with the reasons of those that could not be run."""
        try:
            others = self._fill_queue()
            self._work()
            tracking.sweep(self.client)  # sends what a worker could not send
            if others:  # the process of a study that was killed may end some seconds after it
                self._fill_queue()
                self._work()
        except MlflowException:
            server.limit_retries()  # the server has been waited for: the calls below must not wait as long again
            raise
        finally:
            state.write_plan(self.client, self.parent_id, self._plan())

    def _fill_queue(self) -> bool:
        """Queues the cells that this study has not tried yet, and tags the runs of the others.

        Returns whether another process runs one of them.
        """
        states = state.states(self.client, self.by_signature)
        for signature in reversed(self.by_signature):
            cell, cell_state = self.by_signature[signature], states[signature]
            if cell_state.must_run:
                if not self.starts[signature] and signature not in self.reasons:
                    self.queue.append(signature)
            elif cell_state.run:
                state.tag_existing_run(self.client, cell_state.run, self.study.name, cell, self.parent_id)
                if "seconds" in cell_state.run.data.metrics:
                    self.seconds[cell.arm].append(cell_state.run.data.metrics["seconds"])
        self.view = ProgressView(self.console, len(self.cells), len(self.cells) - len(self.queue))
        return any(cell_state.status == "running" for cell_state in states.values())

    def _work(self) -> None:
        """Gives cells to the engine until none is left and none is running."""
        slots = min(self.engine.jobs, len(self.queue))
        self.view.announce(len(self.queue), slots)
        try:
            with self.view.progress:
                while self.queue or self.busy:
                    for slot in range(slots):
                        if slot not in self.busy and self.queue:
                            self._start(slot)
                    self.view.time_left(self._time_left())
                    for slot, event in self.engine.events(1.0):
                        if slot in self.busy:  # a process can also die while it is idle
                            self._handle_event(slot, event)
        except BaseException:
            self.engine.stop()
            for started in self.busy.values():
                state.mark_killed_if_dead(self.client, started.signature, self.parent_id)
            raise

    def _start(self, slot: int) -> None:
        signature = self.queue.popleft()
        cell, lock_file = self.by_signature[signature], store.ROOT / "studies" / ".cells" / f"{signature}.lock"
        lock_file.parent.mkdir(exist_ok=True)
        lock = FileLock(lock_file)
        try:  # the store knows a run only some seconds after its start
            lock.acquire(timeout=0)
        except Timeout:
            self.view.skip(1, f"{cell}: another study in this folder runs it now")
            return
        cell_state = state.state(self.client, signature)
        if not cell_state.must_run:  # another study has started it meanwhile
            lock.release()
            self.view.skip(1, f"{cell}: {cell_state.reason or 'has finished meanwhile'}")
            return
        resume = cell_state.run.info.run_id if cell_state.status == "killed" and cell_state.run else None
        tags = state.cell_tags(self.study.name, cell, self.parent_id)
        self.engine.start(slot, Job(cell.experiment, tags, resume))
        self.busy[slot] = Started(signature, lock, time.monotonic())
        self.starts[signature] += 1
        self.view.begin(slot, cell, _epochs(cell))

    def _handle_event(self, slot: int, event: JobEvent) -> None:
        started = self.busy[slot]
        cell = self.by_signature[started.signature]
        if event.kind == "epoch":
            figures = event.figures or {}
            if "lr" in figures:  # an estimator is fitted in one step, and then its run ends
                started.epochs = event.epoch
            self.view.epoch(slot, event.epoch, _epochs(cell) if "lr" in figures else 0, figures)
            return
        del self.busy[slot]
        started.lock.release()
        if event.kind == "died":
            cell_state = state.mark_killed_if_dead(self.client, started.signature, self.parent_id)
            if cell_state.status == "finished" and cell_state.run:  # it died after its work was done
                event = JobEvent("finished", figures=dict(cell_state.run.data.metrics))
        if event.kind == "finished":
            seconds = time.monotonic() - started.time
            self.seconds[cell.arm].append(seconds)
            self.view.end(slot, f"test UAR {(event.figures or {})['test/uar']:.3f}, {seconds:.0f} s", counts=True)
        elif event.kind == "died" and self.starts[started.signature] < MAX_STARTS:
            self.queue.appendleft(started.signature)
            self.view.end(slot, f"{event.text}, started again", counts=False)
        else:
            self.reasons[started.signature] = event.text
            self.view.end(slot, event.text, counts=True)
        if event.kind == "refused":
            self._refuse_alike(cell, event.text)

    def _refuse_alike(self, refused: Cell, reason: str) -> None:
        """Drops the other folds and seeds of a refused cell, unless the reason depends on the fold, the seed or the server."""
        if reason.startswith((server.MESSAGE_START, "audit:", "protocol.split_seed", "protocol.fold:")):
            return
        alike = []
        for signature in self.queue:
            cell = self.by_signature[signature]
            if (cell.arm, cell.protocol) == (refused.arm, refused.protocol):
                alike.append(signature)
        for signature in alike:
            self.queue.remove(signature)
            self.reasons[signature] = reason
        if alike:
            title = f"{refused.arm} · {refused.protocol}"
            self.view.skip(len(alike), f"{title}: {len(alike)} more runs, for the same reason")

    def _time_left(self) -> float | None:
        """Estimates the time left in seconds from the finished runs of each arm; None while nothing is known."""
        known = {arm: fmean(seconds) for arm, seconds in self.seconds.items()}
        now = time.monotonic()
        for started in self.busy.values():
            cell = self.by_signature[started.signature]
            if started.epochs and cell.arm not in known:
                known[cell.arm] = (now - started.time) * _epochs(cell) / started.epochs
        if not known:
            return None
        average = fmean(known.values())

        def expected(signature: str) -> float:
            return known.get(self.by_signature[signature].arm, average)

        waiting = sum(expected(signature) for signature in self.queue)
        running = sum(max(0.0, expected(s.signature) - (now - s.time)) for s in self.busy.values())
        return (waiting + running) / max(1, len(self.busy))


def _epochs(cell: Cell) -> int:
    last = cycles(cell.experiment.fit.stages)[-1]
    return last.first + last.epochs

"""Runs a study: what has finished is left alone, what was killed goes on, what failed or is new is run."""

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from statistics import fmean

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from rich.console import Console

from emotion_lightning.errors import UserError
from emotion_lightning.studies import state as ledger
from emotion_lightning.studies.engine import Choice, Engine, Job, News
from emotion_lightning.studies.process_engine import Processes
from emotion_lightning.studies.progress import View
from emotion_lightning.studies.study import Cell, Study
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import server, signals, store
from emotion_lightning.training.schedule import cycles

STARTS = 2  # of a cell whose process dies


def run_study(
    study: Study,
    cells: Sequence[Cell],
    overrides: Sequence[str],
    choice: Choice,
    console: Console,
    conclude: Callable[[], None],
) -> dict[str, str]:
    """Trains those of `cells`, spelt out with `overrides`, that are missing, on the engine chosen; then calls `conclude`,
    which writes the report while the study's run is still RUNNING. Returns the cells without a finished run by name, with
    the reason of each."""
    place = store.ROOT / "studies" / f"{study.name}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place, timeout=0), signals.raised():
            return _run(study, cells, overrides, choice, console, conclude)
    except Timeout:
        raise UserError(f"study {study.name} is being run here already; two at once would double its runs") from None


def _run(
    study: Study,
    cells: Sequence[Cell],
    overrides: Sequence[str],
    choice: Choice,
    console: Console,
    conclude: Callable[[], None],
) -> dict[str, str]:
    client = store.connect()
    tracking.sweep(client)
    states = ledger.states(client, [cell.experiment.signature() for cell in cells])
    done = all(state.status == "finished" for state in states.values())
    with closing(_engine(Choice() if done else choice)) as engine:  # no cluster is joined for nothing
        return _run_on(engine, client, study, cells, overrides, console, conclude)


def _run_on(
    engine: Engine,
    client: MlflowClient,
    study: Study,
    cells: Sequence[Cell],
    overrides: Sequence[str],
    console: Console,
    conclude: Callable[[], None],
) -> dict[str, str]:
    parent = ledger.open_parent(client, ledger.plan(study, cells, overrides, {}), cells[0]).info.run_id
    status = "FAILED"
    try:
        runner = _Runner(client, study.name, parent, cells, engine, console)
        try:
            runner.work()
            tracking.sweep(client)  # sends what a worker was left with
        except MlflowException:
            server.hurry()  # it has been waited for: the calls below are not to wait as long again
            raise
        finally:
            ledger.write_plan(client, parent, ledger.plan(study, cells, overrides, runner.reasons))
        conclude()
        status = "FINISHED"
    except signals.Killed as killed:
        status, killed.run_id = "KILLED", parent
        raise
    finally:
        client.set_terminated(parent, status)
    states = ledger.states(client, runner.cells)
    return {
        str(cell): runner.reasons.get(signature) or states[signature].reason or "not run"
        for signature, cell in runner.cells.items()
        if states[signature].status != "finished"
    }


def _engine(choice: Choice) -> Engine:
    if choice.name == "processes":
        return Processes(choice.jobs or 1)
    # Both are read when Ray is imported. Its messages on dead processes are the study's to tell, and in one line; a Ray of
    # this machine alone listens on 127.0.0.1 only, by a switch whose name is of the systems where that is the default.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        from emotion_lightning.studies.ray_engine import Cluster
    except ModuleNotFoundError:
        raise UserError("ENGINE=ray: Ray is not installed; pip install 'emotion-lightning[cluster]'") from None
    return Cluster(choice)


class _Runner:
    """Hands cells to the engine until none is left. `reasons`: by signature, why a cell could not be run."""

    def __init__(
        self, client: MlflowClient, study: str, parent: str, cells: Sequence[Cell], engine: Engine, console: Console
    ):
        self.client, self.study, self.parent, self.engine = client, study, parent, engine
        self.cells = {cell.experiment.signature(): cell for cell in reversed(cells)}
        states = ledger.states(client, self.cells)
        self.reasons: dict[str, str] = {}
        self.seconds: dict[str, list[float]] = defaultdict(list)  # of finished runs, by arm
        self.queue: deque[str] = deque()
        for signature in reversed(self.cells):
            state = states[signature]
            if state.status in ("killed", "failed", "missing"):
                self.queue.append(signature)
            elif state.run:
                ledger.adopt(client, state.run, study, self.cells[signature], parent)
                if "seconds" in state.run.data.metrics:
                    self.seconds[self.cells[signature].arm].append(state.run.data.metrics["seconds"])
        self.view = View(console, len(self.cells), len(self.cells) - len(self.queue))
        self.busy: dict[int, tuple[str, float, int]] = {}  # slot → signature, when it began, epochs done
        self.starts = Counter[str]()

    def work(self) -> None:
        count = min(self.engine.jobs, len(self.queue))
        self.view.announce(len(self.queue), count)
        try:
            with self.view.progress:
                while self.queue or self.busy:
                    for slot in range(count):
                        if slot not in self.busy and self.queue:
                            self._start(slot)
                    self.view.time_left(self._time_left())
                    for slot, news in self.engine.news(1.0):
                        if slot in self.busy:  # else it died while it had nothing to do
                            self._hear(slot, news)
        except BaseException:
            self.engine.stop()
            for signature, _, _ in self.busy.values():
                ledger.end_dead(self.client, signature, self.parent)
            raise

    def _start(self, slot: int) -> None:
        signature = self.queue.popleft()
        cell, state = self.cells[signature], ledger.state(self.client, signature)
        if state.status in ("finished", "running"):  # by another study, since this one began
            self.view.skip(1, f"{cell}: {state.reason or 'has finished meanwhile'}")
            return
        resume = state.run.info.run_id if state.status == "killed" and state.run else None
        self.engine.start(slot, Job(cell.experiment, ledger.tags(self.study, cell, self.parent), resume))
        self.busy[slot] = signature, time.monotonic(), 0
        self.starts[signature] += 1
        self.view.begin(slot, cell, _epochs(cell))

    def _hear(self, slot: int, news: News) -> None:
        signature, began, _ = self.busy[slot]
        cell = self.cells[signature]
        if news.kind == "epoch":
            self.busy[slot] = signature, began, news.epoch + 1
            self.view.epoch(slot, news.epoch, _epochs(cell), news.figures or {})
            return
        del self.busy[slot]
        if news.kind == "died":
            state = ledger.end_dead(self.client, signature, self.parent)
            if state.status == "finished" and state.run:  # it died after its work was done
                news = News("finished", figures=dict(state.run.data.metrics))
        again = news.kind == "died" and self.starts[signature] < STARTS
        if news.kind == "finished":
            seconds = time.monotonic() - began
            self.seconds[cell.arm].append(seconds)
            text = f"test UAR {(news.figures or {})['test/uar']:.3f}, {seconds:.0f} s"
        else:
            text = self.reasons[signature] = news.text
        self.view.end(slot, text + (", started again" if again else ""), counts=not again)
        if again:
            del self.reasons[signature]
            self.queue.appendleft(signature)
        if news.kind == "refused":
            self._refuse_alike(cell, news.text)

    def _refuse_alike(self, refused: Cell, reason: str) -> None:
        """What one fold or seed of an arm was refused for holds for the others under the protocol, unless it is of its split."""
        if reason.startswith((server.AWAY, "audit:", "protocol.split_seed", "protocol.fold:")):
            return
        alike = [
            s for s in self.queue if (self.cells[s].arm, self.cells[s].protocol) == (refused.arm, refused.protocol)
        ]
        for signature in alike:
            self.queue.remove(signature)
            self.reasons[signature] = reason
        if alike:
            self.view.skip(
                len(alike), f"{refused.arm} · {refused.protocol}: {len(alike)} more runs, for the same reason"
            )

    def _time_left(self) -> float | None:
        """Seconds, from what finished runs of each arm took; None while nothing is known."""
        known = {arm: fmean(seconds) for arm, seconds in self.seconds.items()}
        now = time.monotonic()
        for signature, began, epochs in self.busy.values():
            cell = self.cells[signature]
            if epochs and cell.arm not in known:
                known[cell.arm] = (now - began) * _epochs(cell) / epochs
        if not known:
            return None
        usual = fmean(known.values())
        waiting = sum(known.get(self.cells[s].arm, usual) for s in self.queue)
        under_way = [
            max(0.0, known.get(self.cells[s].arm, usual) - (now - began)) for s, began, _ in self.busy.values()
        ]
        return (waiting + sum(under_way)) / max(1, len(self.busy))


def _epochs(cell: Cell) -> int:
    last = cycles(cell.experiment.fit.stages)[-1]
    return last.first + last.epochs

"""Runs a study: what has finished is left alone, what was killed goes on, what failed or is new is run."""

import signal
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from statistics import fmean

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from rich.console import Console

from emotion_lightning import ledger, machine, server, tracking
from emotion_lightning.errors import UserError
from emotion_lightning.schedule import cycles
from emotion_lightning.study import Cell, Study
from emotion_lightning.study_view import View
from emotion_lightning.workers import Job, News, Worker, wait_for_news

STARTS = 2  # of a cell whose process dies


def run_study(
    study: Study,
    cells: Sequence[Cell],
    overrides: Sequence[str],
    jobs: int,
    console: Console,
    conclude: Callable[[], None],
) -> dict[str, str]:
    """Trains those of `cells`, spelt out with `overrides`, that are missing, on `jobs` processes; then calls `conclude`,
    which writes the report while the study's run is still RUNNING. Returns the cells without a finished run by name, with
    the reason of each."""
    place = tracking.ROOT / "studies" / f"{study.name}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place, timeout=0):
            return _run(study, cells, overrides, jobs, console, conclude)
    except Timeout:
        raise UserError(f"study {study.name} is being run here already; two at once would double its runs") from None


def _run(
    study: Study,
    cells: Sequence[Cell],
    overrides: Sequence[str],
    jobs: int,
    console: Console,
    conclude: Callable[[], None],
) -> dict[str, str]:
    client = tracking.connect()
    tracking.sweep(client)
    parent = ledger.open_parent(client, ledger.plan(study, cells, overrides, {}), cells[0]).info.run_id
    status = "FAILED"
    try:
        runner = _Runner(client, study.name, parent, cells, jobs, console)
        with tracking.signals_raise():
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
    except tracking.Killed as killed:
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


class _Runner:
    """Hands cells to workers until none is left. `reasons`: by signature, why a cell could not be run."""

    def __init__(
        self, client: MlflowClient, study: str, parent: str, cells: Sequence[Cell], jobs: int, console: Console
    ):
        self.client, self.study, self.parent, self.jobs = client, study, parent, jobs
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
        self.workers: dict[int, Worker] = {}
        self.busy: dict[int, tuple[str, float, int]] = {}  # worker → signature, when it began, epochs done
        self.starts = Counter[str]()

    def work(self) -> None:
        count = min(self.jobs, len(self.queue))
        self.view.announce(len(self.queue), count)
        # by `jobs` and not by how many cells are left, so that a study gone on with computes as an unbroken one
        threads = max(1, machine.cores() // self.jobs)
        try:
            with self.view.progress:
                while self.queue or self.busy:
                    for number in range(count):
                        if number not in self.busy and self.queue:
                            self._start(number, threads)
                    self.view.time_left(self._time_left())
                    wait_for_news(list(self.workers.values()), 1.0)
                    for number in list(self.busy):
                        while number in self.busy and (news := self.workers[number].news()):
                            self._hear(number, news)
        except BaseException:
            for worker in self.workers.values():
                worker.end(signal.SIGTERM)
            raise
        for worker in self.workers.values():
            worker.end()

    def _start(self, number: int, threads: int) -> None:
        signature = self.queue.popleft()
        cell, state = self.cells[signature], ledger.state(self.client, signature)
        if state.status in ("finished", "running"):  # by another study, since this one began
            self.view.skip(1, f"{cell}: {state.reason or 'has finished meanwhile'}")
            return
        if number not in self.workers:
            self.workers[number] = Worker(threads)
        resume = state.run.info.run_id if state.status == "killed" and state.run else None
        self.workers[number].start(Job(cell.experiment, ledger.tags(self.study, cell, self.parent), resume))
        self.busy[number] = signature, time.monotonic(), 0
        self.starts[signature] += 1
        self.view.begin(number, cell, _epochs(cell))

    def _hear(self, number: int, news: News) -> None:
        signature, began, _ = self.busy[number]
        cell = self.cells[signature]
        if news.kind == "epoch":
            self.busy[number] = signature, began, news.epoch + 1
            self.view.epoch(number, news.epoch, _epochs(cell), news.figures or {})
            return
        del self.busy[number]
        if news.kind == "died":
            self.workers.pop(number).end()
            tracking.sweep(self.client)
            state = ledger.state(self.client, signature)
            if state.status == "finished" and state.run:  # it died after its work was done
                news = News("finished", figures=dict(state.run.data.metrics))
        again = news.kind == "died" and self.starts[signature] < STARTS
        if news.kind == "finished":
            seconds = time.monotonic() - began
            self.seconds[cell.arm].append(seconds)
            text = f"test UAR {(news.figures or {})['test/uar']:.3f}, {seconds:.0f} s"
        else:
            text = self.reasons[signature] = news.text
        self.view.end(number, text + (", started again" if again else ""), counts=not again)
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

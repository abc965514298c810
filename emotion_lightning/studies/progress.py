"""What a running study shows: on a terminal a bar for each worker and one over all, elsewhere a line a run."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from emotion_lightning.studies.study import Cell


class View:
    def __init__(self, console: Console, total: int, done: int):
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        self.console, self.done, self.total, self.left = console, done, total, ""
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.overall = self.progress.add_task("all runs", total=total, completed=done, note=f"{done}/{total}")
        self.tasks: dict[int, tuple[TaskID, Cell]] = {}
        self.said = time.monotonic()

    def announce(self, cells: int, at_once: int) -> None:
        if cells:
            self._say(f"{cells} of {self.total} runs to do, {at_once} at once")

    def begin(self, worker: int, cell: Cell, epochs: int) -> None:
        self.tasks[worker] = self.progress.add_task(str(cell), total=epochs or None, note="starting"), cell

    def epoch(self, worker: int, epoch: int, epochs: int, figures: dict[str, float]) -> None:
        task, cell = self.tasks[worker]
        note = f"epoch {epoch + 1}/{epochs or 1} · UAR {figures['uar/val']:.3f} val"
        self.progress.update(task, completed=epoch + 1, note=note)
        if not self.console.is_terminal and time.monotonic() - self.said > 60:
            self._say(f"{cell}: {note}{self.left}")

    def end(self, worker: int, outcome: str, counts: bool) -> None:
        """`counts`: the cell is done with, and is not started again."""
        task, cell = self.tasks.pop(worker)
        self.progress.remove_task(task)
        self.done += counts
        self.progress.update(self.overall, completed=self.done)
        self._say(f"[{self.done}/{self.total}] {cell}: {outcome}")

    def skip(self, cells: int, why: str) -> None:
        """So many cells will not be started."""
        self.done += cells
        self._say(f"[{self.done}/{self.total}] {why}")

    def time_left(self, seconds: float | None) -> None:
        self.left = "" if seconds is None else f" · about {_duration(seconds)} left"
        self.progress.update(self.overall, note=f"{self.done}/{self.total}{self.left}")

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
        self.said = time.monotonic()


def _duration(seconds: float) -> str:
    """ "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

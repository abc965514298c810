"""The progress of a running study: on a terminal a bar for each slot and one over all runs, elsewhere a line for each run."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from emotion_lightning.studies.study import Cell


class ProgressView:
    """Shows `done` of `total` runs, and the runs that are under way."""

    def __init__(self, console: Console, total: int, done: int):
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        self.console, self.done, self.total, self.left = console, done, total, ""
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.overall = self.progress.add_task("all runs", total=total, completed=done, note=f"{done}/{total}")
        self.tasks: dict[int, tuple[TaskID, Cell]] = {}
        self.printed = time.monotonic()

    def announce(self, cells: int, at_once: int) -> None:
        """Prints how many cells will be run."""
        if cells:
            self._print(f"{cells} of {self.total} runs to do, {at_once} at once")

    def begin(self, slot: int, cell: Cell, epochs: int) -> None:
        """Shows that a cell has started in a slot."""
        self.tasks[slot] = self.progress.add_task(str(cell), total=epochs or None, note="starting"), cell

    def epoch(self, slot: int, epoch: int, epochs: int, figures: dict[str, float]) -> None:
        """Shows the scores of an epoch, counted from 1; `epochs` is 0 for a model that is fitted in one step."""
        task, cell = self.tasks[slot]
        note = f"{f'epoch {epoch}/{epochs}' if epochs else 'fitted'} · UAR {figures['uar/val']:.3f} val"
        self.progress.update(task, completed=epoch, note=note)
        if not self.console.is_terminal and time.monotonic() - self.printed > 60:
            self._print(f"{cell}: {note}{self.left}")

    def end(self, slot: int, outcome: str, counts: bool) -> None:
        """Ends the run of a slot; `counts` is False if its cell is started again."""
        task, cell = self.tasks.pop(slot)
        self.progress.remove_task(task)
        self.done += counts
        self.progress.update(self.overall, completed=self.done)
        self._print(f"[{self.done}/{self.total}] {cell}: {outcome}")

    def skip(self, cells: int, reason: str) -> None:
        """Counts cells that will not be started."""
        self.done += cells
        self._print(f"[{self.done}/{self.total}] {reason}")

    def time_left(self, seconds: float | None) -> None:
        """Shows the estimated time left; None if it is unknown."""
        self.left = "" if seconds is None else f" · about {_duration(seconds)} left"
        self.progress.update(self.overall, note=f"{self.done}/{self.total}{self.left}")

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
        self.printed = time.monotonic()


def _duration(seconds: float) -> str:
    """Formats seconds as "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

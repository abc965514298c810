"""A command that is killed at a moment and started again, and what was lost by it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trust import places
from trust.forked import ended
from trust.kills.cases import Case
from trust.kills.half import half_files, half_models
from trust.moments import Moment, Watch


@dataclass
class Broken:
    """A folder in which a case is killed and started again; `whole` is that of the unbroken run."""

    case: Case
    folder: Path
    whole: Path
    was_killed: bool = False

    def judged(self, moment: Moment) -> Iterator[str]:
        """Yields what was lost or wrong. The processes that a study has started may take seconds to end after it."""
        try:
            ended(self.folder, *self.case.words, before=Watch(self.folder, moment=moment), code=-9)
            self.was_killed = True
        except RuntimeError as early:
            if "ended with 0" not in str(early):
                yield str(early)
                return
        try:
            yield from self._after_the_kill()
        except RuntimeError as fault:
            yield str(fault)

    def _after_the_kill(self) -> Iterator[str]:
        if left := places.still_at_work(self.folder):
            yield f"{len(left)} processes live on"
        killed = {run for run, status in places.runs(self.folder).items() if status == "RUNNING"}
        before = places.epochs(self.folder)
        yield from half_files(self.folder, self.whole)
        ended(self.folder, "prune")  # a command that looks at the store
        for run, status in places.runs(self.folder).items():
            if status == "RUNNING" or (run in killed and status != "KILLED"):
                yield f"run {run[:8]} is {status} after the kill"
        yield from half_models(self.folder, self.whole)
        ended(self.folder, *self._again())
        after = places.epochs(self.folder)
        if lost := set(before) - set(after):
            yield f"lost {len(lost)} logged values, such as {sorted(lost)[0][:3]}"
        doubled = Counter((metric, epoch, run) for metric, epoch, _, _, run in after)
        if many := [where for where, count in doubled.items() if count > 1]:
            yield f"doubled {len(many)} logged values, such as {many[0]}"
        yield from self.case.judge(self.folder, self.whole)

    def _again(self) -> tuple[str, ...]:
        """Returns the words that go on: a training run that was opened is resumed, another command is typed again."""
        open_runs = [run for run, status in places.runs(self.folder).items() if status == "KILLED"]
        if self.case.words[0] != "train" or not open_runs:
            return self.case.words if self.case.words[0] != "train" or not places.runs(self.folder) else ("prune",)
        return (*self.case.words, "--resume", open_runs[0])

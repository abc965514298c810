"""Moments at which a process kills itself: so many seconds after its start, or at one of its writes to a file or database.

Most of a command's time passes between its writes, where a kill does no harm. So most moments are drawn among the writes.
They are named, such as "rename mlruns/checkpoints/*/best.ckpt, the 2nd", and can be repeated.
"""

import os
import re
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

SOON = 0.02  # s; a kill at a write comes up to so much later, amid the write or after it
NUMBERS = re.compile(r"[0-9a-f]{32}|m-[0-9a-f]{32}|[0-9a-f]{12,16}|(?<=tmp)[a-z0-9_]{8}|(?<=pymp-)[a-z0-9_]{8}")

CODE = re.compile("/code/.*")  # our own code in a logged model: hundreds of files


@dataclass(frozen=True)
class Moment:
    """`seconds` after the start; or, with a `write`, `seconds` after it was begun for the `count`th time."""

    seconds: float
    write: str = ""
    count: int = 0

    def __str__(self) -> str:
        if not self.write:
            return f"killed after {self.seconds:.2f} s"
        later = f" + {self.seconds * 1000:.0f} ms" if self.seconds else ""
        return f"killed at '{self.write}' no. {self.count}{later}"


@dataclass(frozen=True)
class Watch:
    """To be called in a process: writes the names of its writes below `root` to `log`, or kills it at a moment."""

    root: Path
    log: Path | None = None
    moment: Moment | None = None

    def __call__(self) -> None:
        if self.moment and not self.moment.write:
            _kill_in(self.moment.seconds)
            return
        import sqlalchemy

        seen = Counter[str]()
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if self.log else None

        def on_write(name: str) -> None:
            seen[name] += 1
            if output is not None:
                os.write(output, f"{seen[name]} {name}\n".encode())
            if self.moment and (name, seen[name]) == (self.moment.write, self.moment.count):
                _kill_in(self.moment.seconds)

        def on_statement(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
            words = statement.split()
            if words[0].upper() in ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP"):
                connection.info["last"] = f"{words[0]} {words[2] if words[0] != 'UPDATE' else words[1]}"
                on_write(f"sql {connection.info['last']}")

        def on_commit(connection: Any) -> None:
            if last := connection.info.pop("last", ""):
                on_write(f"commit {last}")

        sys.addaudithook(lambda event, arguments: self._file(event, arguments, on_write))
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", on_statement)
        sqlalchemy.event.listen(sqlalchemy.Engine, "commit", on_commit)

    def _file(self, event: str, arguments: tuple[Any, ...], on_write: Any) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str | os.PathLike) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            path = arguments[1 if event == "os.rename" else 0]
        else:
            return
        place = str(Path(os.fsdecode(path)).absolute())
        if place.startswith(f"{self.root}/"):
            name = NUMBERS.sub("*", place.removeprefix(f"{self.root}/"))
            on_write(f"{event.removeprefix('os.')} {CODE.sub('/code/*', name)}")


def _kill_in(seconds: float) -> None:
    if seconds:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def draw(chance: Random, number: int, log: Path, wanted: str, duration: float) -> list[Moment]:
    """Draws moments among the writes of `log` whose name matches `wanted`; without it, among all the seconds of `duration`.

    Each name has the same chance, however often it was written, because the rare ones are the delicate ones.
    """
    if not wanted:
        return [Moment(chance.uniform(0.1, 0.98) * duration) for _ in range(number)]
    counts = Counter(line.partition(" ")[2] for line in log.read_text().splitlines() if re.search(wanted, line))
    names = sorted(counts)
    chance.shuffle(names)
    chosen = [names[i % len(names)] for i in range(number)]
    return [
        Moment(chance.choice((0.0, chance.uniform(0, SOON))), name, chance.randint(1, counts[name]))
        for name in chosen
    ]

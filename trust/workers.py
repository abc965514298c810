"""A process of its own for code that may crash, hang or fill the memory; after each of these, another one is started."""

import multiprocessing
import os
import re
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("spawn")
START_SECONDS = 180  # torch and a model are loaded, on a busy machine


class Lost(Exception):
    """Raised for a job that ended its process or took too long; the message says which."""


class Worker:
    """Runs `make(*arguments)` in a process, which gives a function, and then this function for each job.

    A job that takes longer than `seconds` is ended. The memory that all jobs together may add is `megabytes`; an allocation
    beyond it raises MemoryError in the job.
    """

    def __init__(self, make: Callable[..., Callable[[Any], Any]], *arguments: Any, seconds: float, megabytes: int):
        self.make, self.arguments, self.seconds, self.megabytes = make, arguments, seconds, megabytes
        self.process: Any = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, job: Any) -> Any:
        """Returns what the function gives for a job.

        Raises: Lost where the process ended or took too long, or the function raised an exception.
        """
        if self.process is None:
            self._start()
        self.pipe.send(job)
        if not self.pipe.poll(self.seconds):
            self._end()
            raise Lost(f"no answer after {self.seconds:g} s")
        try:
            is_error, answer = self.pipe.recv()
        except EOFError:
            self.process.join(10)
            code = self.process.exitcode
            self._end()
            raise Lost(f"the process ended with {code}") from None
        if is_error:
            raise Lost(answer)
        return answer

    def _start(self) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs, self.make, self.arguments, self.megabytes))
        self.process.start()
        theirs.close()
        if not self.pipe.poll(START_SECONDS):
            self._end()
            raise Lost(f"did not start in {START_SECONDS} s")
        self.pipe.recv()

    def _end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
        self.process = None


def _serve(pipe: Connection, make: Callable[..., Callable[[Any], Any]], arguments: Any, megabytes: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libmpg123 writes a line for each damaged frame
    function = make(*arguments)
    limit = 1024 * _data_kilobytes() + megabytes * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    pipe.send(None)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            answer = False, function(job)
        except Exception as error:
            answer = True, f"{type(error).__name__}: {error}"
        pipe.send(answer)


def _data_kilobytes() -> int:
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1])

"""What a command leaves behind when it ends at once: its status and all that it printed."""

import signal
import subprocess
import sys

import pytest
from processes import REPOSITORY


def ended(app: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    """A process whose whole command is `app`."""
    code = f"import sys; from emotion_lightning.cli import main as cli; cli.app = lambda: {app}; cli.main()"
    command = f"exec env -u PYTHONUNBUFFERED '{sys.executable}' -c '{code}' {shell}"
    return subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("app", "status", "out", "err"),
    [
        ('(print("told", end=""), sys.exit(3))', 3, "told", ""),
        ('(print("told", end=""), sys.exit())', 0, "told", ""),
        ('sys.exit("a reason")', 1, "", "a reason\n"),
        ('(__import__("atexit").register(print, "at the end"), sys.exit(0))', 0, "at the end\n", ""),
        ('(__import__("threading").Timer(0.5, print, ["late"]).start(), sys.exit(0))', 0, "late\n", ""),
    ],
    ids=["status", "none", "message", "atexit", "thread"],
)
def test_status_and_output_are_pythons_own(app: str, status: int, out: str, err: str) -> None:
    done = ended(app)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


def test_a_closed_output_is_no_error() -> None:
    done = ended("sys.exit(0)", ">&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_one() -> None:
    done = ended('(print("lost"), sys.exit(0))', "> /dev/full")
    assert done.returncode == 120


def run_shell(command: str) -> subprocess.CompletedProcess[str]:
    """`command`, in which `emotion` is the command line."""
    prelude = f"set -o pipefail; emotion() {{ '{sys.executable}' -m emotion_lightning \"$@\"; }}; "
    return subprocess.run(
        ["bash", "-c", prelude + command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_a_reader_that_has_read_enough_ends_the_command_without_a_message() -> None:
    done = run_shell("(sleep 1; emotion experiments) | exec true")  # true reads nothing
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_terminal_of_another_encoding_prints_a_question_mark() -> None:
    done = run_shell("LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING= emotion experiments")
    assert done.returncode == 0 and "make train EXP=?" in done.stdout and "Traceback" not in done.stderr

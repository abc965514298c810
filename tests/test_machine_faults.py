"""What the machine can lack: disk, memory, a database, the right time. Each is one line, and what was there stays whole."""

import errno
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import sqlalchemy
import torch
from mlflow.exceptions import MlflowException
from soundfile import LibsndfileError

from emotion_lightning.data.filesystem import replacing, replacing_files_of
from emotion_lightning.errors import UserError, machine_fault
from emotion_lightning.tracking import environment
from emotion_lightning.training import checkpoint_file
from emotion_lightning.training.fit import make_trainer
from emotion_lightning.training.hardware import lack_of_memory_as_user_error


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full (No space left on device)"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/tmp/copied", None, "runs/kept"),
            "the disk is full (No space left on device): 'runs/kept'",  # not the file that is copied from
        ),
        (OSError(errno.EROFS, "Read-only file system", "a.csv"), "'a.csv': Read-only file system"),
        (OSError(errno.EIO, "Input/output error"), "a file cannot be written (Input/output error)"),
        (OSError("no number"), ""),
        (LibsndfileError(2), "a sound file cannot be written; the disk may be full"),
        (LibsndfileError(1), ""),
        (MemoryError(), "out of memory (an allocation was refused)"),
        (
            ImportError("_rust.abi3.so: failed to map segment from shared object"),
            "out of memory (failed to map segment from shared object)",
        ),
        (MemoryError("Unable to allocate 3.00 GiB for an array"), "out of memory (Unable to allocate 3.00 GiB)"),
        (ValueError("Cannot allocate memory"), ""),
        (RuntimeError("size mismatch"), ""),
    ],
)  # fmt: skip
def test_a_fault_of_the_machine_is_one_line_and_any_other_is_none(error: BaseException, message: str) -> None:
    assert machine_fault(error) == message


def test_a_locked_and_a_full_database_are_named_behind_mlflows_and_sqlalchemys_errors(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{database}", connect_args={"timeout": 0})
    with closing(sqlite3.connect(database)) as other:
        other.execute("CREATE TABLE runs (name TEXT)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlalchemy.exc.OperationalError) as locked, engine.begin() as connection:
            connection.execute(sqlalchemy.text("INSERT INTO runs VALUES ('a')"))
    wanted = "another program holds the database (database is locked); give the command again when it has ended"
    assert machine_fault(locked.value) == machine_fault(raised(MlflowException("x"), locked.value)) == wanted
    full = MlflowException("(sqlite3.OperationalError) database or disk is full\n(Background on this error at: …)")
    assert machine_fault(full) == "the disk is full (database or disk is full)"
    assert machine_fault(MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed")) == ""


def test_torchs_own_lack_of_memory_names_the_batch_size_to_try() -> None:
    with (
        pytest.raises(UserError, match=r'out of memory .*; SET="data.batch_size=32" needs less than 64 clips'),
        lack_of_memory_as_user_error(64),
    ):
        torch.empty(2**50)
    with pytest.raises(UserError, match="fewer clips or a smaller feature"), lack_of_memory_as_user_error(None):
        torch.empty(2**50)
    with (
        pytest.raises(UserError, match=r"\(CUDA out of memory. Tried to allocate 2.00 GiB\)"),
        lack_of_memory_as_user_error(64),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")
    with pytest.raises(RuntimeError, match="size mismatch"), lack_of_memory_as_user_error(64):
        raise RuntimeError("size mismatch")


class FullDisk(Exception):
    pass


def test_what_cannot_be_written_to_its_end_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(FullDisk), replacing(tmp_path / "a.csv") as part:
        part.write_text("ne")
        raise FullDisk
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.csv": "old"}
    with replacing(tmp_path / "a.csv") as part:
        part.write_text("new")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.csv": "new"}


def test_a_folder_that_cannot_be_written_to_its_end_keeps_its_old_files(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    for text in ("old", "new"):
        with replacing_files_of(folder) as part:
            (part / "index.html").write_text(text)
        with pytest.raises(FullDisk), replacing_files_of(folder) as part:
            (part / "index.html").write_text("half")
            raise FullDisk
        (tmp_path / ".part-report").mkdir()  # as a killed process leaves it
        (tmp_path / ".part-report" / "half.html").touch()
        assert [file.read_text() for file in folder.iterdir()] == [text]
    with replacing_files_of(folder):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["report"] and len(list(folder.iterdir())) == 1


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(tmp_path: Path) -> None:
    """The size of files is limited by the kernel, as a full disk limits it; torch alone would leave half a file."""
    file = tmp_path / "last.ckpt"
    checkpoint_file.save({"epoch": 1, "weights": torch.zeros(10)}, file)
    child = os.fork()
    if not child:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            checkpoint_file.save({"epoch": 2, "weights": torch.zeros(100_000)}, file)
        except OSError as error:
            os._exit(0 if "File too large" in machine_fault(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert torch.load(file, weights_only=True)["epoch"] == 1 and list(tmp_path.iterdir()) == [file]


def test_a_trainer_writes_its_checkpoints_that_way() -> None:
    from emotion_lightning.config.schema import Fit

    settings = Fit.model_validate({"stages": {"main": {"epochs": 1}}, "accelerator": "cpu", "precision": "32"})
    strategy = make_trainer(settings, 1, [], freezes=False).strategy
    assert isinstance(strategy.checkpoint_io, checkpoint_file.WholeCheckpoints)


def test_a_process_stays_the_same_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = environment.process_tags()["machine/process"]
    earlier_version = f"{os.getpid()} {int(psutil.Process().create_time())}"
    assert environment.is_alive(ours) and environment.is_alive(earlier_version)
    assert not environment.is_alive(f"{os.getpid()} 1") and not environment.is_alive("999999 x:1")
    pid, start = ours.split()
    assert not environment.is_alive(f"{pid} {start}0") and not environment.is_alive("")
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot + 3600)  # as Linux says after such a step
    assert environment.is_alive(ours) and not environment.is_alive(earlier_version)


def test_a_process_that_has_ended_runs_no_more_even_if_its_parent_has_not_asked_for_its_status() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        name = f"{process.pid} {environment._start_of(process.pid)}"
        assert environment.is_alive(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # and leaves it in the list
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert not environment.is_alive(name)

"""Kills: moments are drawn and met as named, and a short form of the part."""

import multiprocessing
from pathlib import Path
from random import Random

import pytest

from trust import kills, places
from trust.kills import half
from trust.moments import Moment, Watch, draw
from trust.rows import Setting


def write_twice(folder: Path, moment: Moment | None, log: Path) -> None:
    Watch(folder, log, moment)()
    for text in ("first", "second"):
        (folder / "part").write_text(text)
        (folder / "part").replace(folder / "file")


def ended(folder: Path, moment: Moment | None) -> int | None:
    process = multiprocessing.get_context("fork").Process(
        target=write_twice, args=(folder, moment, folder.parent / "log")
    )
    process.start()
    process.join(60)
    return process.exitcode


def test_a_process_dies_at_the_write_that_is_named(tmp_path: Path) -> None:
    (folder := tmp_path / "place").mkdir()
    assert ended(folder, None) == 0 and (folder / "file").read_text() == "second"
    names = ["1 open part", "1 rename file", "2 open part", "2 rename file"]
    assert (tmp_path / "log").read_text().splitlines() == names
    drawn = draw(Random(0), 6, tmp_path / "log", "rename", 1.0)
    assert {moment.write for moment in drawn} == {"rename file"} and {moment.count for moment in drawn} == {1, 2}
    (folder / "file").unlink()
    assert ended(folder, Moment(0.0, "rename file", 2)) == -9
    assert (folder / "file").read_text() == "first" and (folder / "part").read_text() == "second"


def test_what_is_half_is_named(tmp_path: Path) -> None:
    whole, folder = (places.make(tmp_path / name, store=False) for name in ("whole", "broken"))
    for place, digits in ((whole, "00112233"), (folder, "44556677")):
        (place / ".cache" / f"waves-{digits}").mkdir(parents=True)
        (place / ".cache" / f"waves-{digits}" / "samples.i16").write_bytes(bytes(10))
    assert list(half.half_files(folder, whole)) == []
    (folder / ".cache" / "waves-44556677" / "samples.i16").write_bytes(bytes(5))
    (folder / "mlruns" / "checkpoints" / "run").mkdir(parents=True)
    (folder / "mlruns" / "checkpoints" / "run" / "last.ckpt").write_bytes(b"half")
    (folder / "experiments" / "network_tuned.yaml").write_text("")
    assert [fault.partition(":")[0] for fault in half.half_files(folder, whole)] == [
        "half a checkpoint",
        "half a cache",
        "half an experiment file",
    ]


@pytest.mark.slow
def test_kills_in_a_run_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [case for case in kills.CASES if case.label == "the model package"]
    monkeypatch.setattr(kills, "CASES", chosen)
    [row] = kills.rows(Setting(tmp_path, 0.01, seed=1))
    assert row.times == 1 and row.faults == ()

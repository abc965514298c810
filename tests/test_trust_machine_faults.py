"""A share of the suite's faults of the machine: a disk that is full under a run, and one that cannot be written."""

import pytest

from trust import machine_faults
from trust.commands import Ended
from trust.machine_faults.place import Place
from trust.rows import Setting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", ["full_runs", "locked_database", "memory", "clock"])
def test_nothing_is_lost(name: str, place: Place) -> None:
    rows = list(machine_faults.PARTS[name](place, Setting(place.folder, share=0.001)))
    assert [row.faults for row in rows] == [()] * len(rows)


def test_the_judge_sees_two_lines_a_traceback_and_other_figures(place: Place) -> None:
    assert not Ended(2, "", "error: the disk is full\n").fault()
    assert Ended(1, "", "error: x\n").fault() and Ended(2, "", "").fault()
    assert Ended(2, "", "Traceback …\nOSError\n").fault() and Ended(2, "", "error: x\nerror: y\n").fault()
    folder = place.folder / "undisturbed"
    assert list(place.wrong(folder, "net", Ended(0, "", ""))) == [
        "then: 2 finished runs, or other figures than undisturbed"
    ]

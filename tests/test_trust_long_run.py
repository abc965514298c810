"""The long run of studies: what counts as flat. The loop itself takes a minute at least, and is run by `make trust`."""

from trust.long_run import ROOM, Taken, flat


def rounds(name: str, sizes: list[float]) -> list[Taken]:
    return [Taken(dict.fromkeys(ROOM, 50.0) | {name: size}, 0) for size in sizes]


def test_what_grows_is_a_fault_and_what_swings_is_none() -> None:
    growing = list(flat(rounds("file handles", [10, 11, 12, 13, 14, 15, 16, 17, 18])))
    assert [row.label for row in growing if row.faults] == ["file handles"]
    assert growing[1].faults == ("11 at first, 17 at last",)
    assert not any(row.faults for row in flat(rounds("memory", [300, 320, 300, 330, 310, 290, 305, 325, 300])))
    assert [row.label for row in flat(rounds("disk", [10, 10, 10, 10, 10, 20, 20, 20, 20])) if row.faults] == ["disk"]

"""A folder that cannot be written."""

from collections.abc import Iterator

from trust.commands import run
from trust.disks import disk
from trust.machine_faults.place import Place, contents
from trust.rows import Row, Setting


def under_commands(place: Place, setting: Setting) -> Iterator[Row]:
    with disk(place.new()) as small:
        folder = place.finished_study(small)
        commands = [
            ("train", "net", "--cache", "{cache}"),
            ("train", "net", "--cache", str(small.folder / "cache")),
            ("study", "pair", "--cache", "{cache}", "seed=1"),
            ("report", "pair"),
            ("tune", "vectors", "--trials", "2", "--inner", "2", "--cache", "{cache}"),
            ("predict", "{clips}", "--run", "{run}", "--out", "answers.csv"),
            ("export", "--run", "{run}", "--out", "exported"),
            ("prune", "--older", "0d", "--all", "--yes"),
        ]
        commands = [place.filled(words, folder) for words in commands]
        before = contents(folder)
        small.make_read_only()
        faults = [f"{words[0]}: {fault}" for words in commands if (fault := run(folder, *words).fault())]
        if contents(folder) != before:
            faults.append("something was changed")
        small.leave_free(100_000)
        if (then := place.train(folder, "net")).status:
            faults.append(f"then: {then.fault()}")
    yield Row("read-only folder under 8 commands", len(commands), tuple(faults))

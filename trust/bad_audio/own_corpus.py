"""A corpus of one's own, a CSV table, whose files are damaged."""

import csv
from pathlib import Path

from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import Clip
from emotion_lightning.data import cache
from trust.bad_audio.damaged_sounds import READ, REFUSED, Sounds
from trust.bad_audio.one_by_one import MEGABYTES
from trust.rows import Row, Setting
from trust.workers import Lost, Worker


class _Caching:
    """Reads a CSV table with the corpus `table` and fills the cache; returns the fault of each clip by its id, and its length."""

    def __call__(self, job: tuple[Path, Path]) -> dict[str, tuple[str, int]]:
        from emotion_lightning.corpora import open_corpus

        table, folder = job
        clips: tuple[Clip, ...] = open_corpus("table", {"path": str(table)}, table.parent / "no", folder).clips
        waves = cache.waves(clips, Audio(trim_db=None), folder, lambda items, *_: items)
        return {c.id: (str(f), int(n)) for c, f, n in zip(clips, waves.faults, waves.lengths, strict=True)}


def cached(sounds: Sounds, times: int, setting: Setting) -> Row:
    folder = setting.work / "table"
    folder.mkdir()
    cases = {f"c{number}": sounds.case(number) for number in range(times)}
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "path", "emotion", "speaker"])
        for name, case in cases.items():
            (folder / f"{name}{case.suffix}").write_bytes(case.content)
            lines.writerow([name, f"{name}{case.suffix}", "sad", "ann"])
    with Worker(_Caching, seconds=20 * times, megabytes=MEGABYTES) as worker:
        try:
            found = worker.ask((folder / "table.csv", folder / "cache"))
        except Lost as lost:
            return Row("a CSV table's corpus in the cache", times, (str(lost),))
    faults = [f"{name}: not in the cache" for name in cases.keys() - found.keys()]
    for name in cases.keys() & found.keys():
        reason, count = found[name]
        case = cases[name]
        expected = len(case.samples) * 16_000 / case.rate if case.samples is not None else count
        if bool(reason) == bool(count) or (case.wanted == REFUSED and count):
            faults.append(f"{case.kind} ({name}): '{reason}', {count} samples")
        elif count and abs(count - expected) > case.slack + 2:
            faults.append(f"{case.kind} ({name}): {count} samples at 16 kHz, not {expected:.0f}")
        elif reason and case.wanted == READ and "too short" not in reason:
            faults.append(f"{case.kind} ({name}): {reason}")
    named = sum(bool(reason) for reason, _ in found.values())
    return Row("a CSV table's corpus in the cache", times, tuple(faults), f"{named} clips named, the rest cached")

"""The folder in which faults are tried: a cache, the figures of undisturbed runs, and what a command left."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from trust.commands import Ended, figures, run, runs, workplace
from trust.disks import Disk


class Place:
    """Where the suite works: a cache that all folders share, and the figures of undisturbed runs."""

    def __init__(self, folder: Path):
        self.folder, self.cache, self.count = folder, folder / "cache", 0
        whole = workplace(folder / "undisturbed")
        for name in ("net", "vectors"):
            assert self.train(whole, name).status == 0
        self.figures = {r.data.tags["experiment"]: figures(r) for r in runs(whole)}

    def new(self) -> Path:
        """Returns the path of a folder that is not there yet."""
        self.count += 1
        return self.folder / f"case-{self.count}"

    def train(self, folder: Path, name: str, *words: str, before: Callable[[], None] | None = None) -> Ended:
        return run(folder, "train", name, "--cache", str(self.cache), *words, before=before)

    def again(self, folder: Path, name: str, said: Ended) -> Iterator[str]:
        """Does what the line on stderr advises, or gives the same command again. Yields what is wrong in the end."""
        resumed = re.search(r"RESUME=(\w+)", said.err)
        ended = self.train(folder, name, *(["--resume", resumed[1]] if resumed else []))
        yield from self.wrong(folder, name, ended)

    def wrong(self, folder: Path, name: str, ended: Ended) -> Iterator[str]:
        """Yields what is wrong after a command that could do its work."""
        done = [r for r in runs(folder) if r.info.status == "FINISHED"]
        if ended.status:
            yield f"then: {ended.fault()}"
        elif len(done) != 1 or figures(done[0]) != self.figures[name]:
            yield f"then: {len(done)} finished runs, or other figures than undisturbed"

    def finished_study(self, small: Disk) -> Path:
        """Returns a folder on the disk in which the study has been run."""
        folder = workplace(small.folder / "work")
        assert run(folder, "study", "pair", "--cache", str(self.cache)).status == 0
        return folder

    def filled(self, words: tuple[str, ...], folder: Path) -> tuple[str, ...]:
        """Returns the words with the sounds, the cache and an SVM's run of the folder in place of {clips}, {cache} and {run}."""
        clips = next(self.cache.glob("demo-*/savee"))
        svms = [r.info.run_id for r in runs(folder) if r.data.tags.get("experiment") == "vectors"]
        return tuple(word.format(clips=clips, cache=self.cache, run=svms[0]) for word in words)


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the content of each file, by its path in the folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

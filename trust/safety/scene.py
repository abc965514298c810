"""A folder with finished runs in which hostile files are planted, and what a command does with them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trust import commands
from trust.experiments import VOICES

MARK = "PAYLOAD_WAS_RUN"
SMALL = (VOICES, "protocol.folds=3")
NETWORK = (*SMALL, "fit.stages.large.epochs=1", "fit.stages.large.size=32")


@dataclass(frozen=True)
class Place:
    """One place: `plant` puts the hostile file there, and the command reads it."""

    name: str
    plant: Callable[[Path], None]  # gets the file that the payload writes
    words: tuple[str, ...]
    note: str = ""  # where the command can do without the file, what it has to say of it


class Scene:
    """A folder with a finished run of a network and one of a scikit-learn model."""

    def __init__(self, folder: Path):
        self.folder, self.mark = folder, folder / MARK
        folder.mkdir(parents=True, exist_ok=True)
        self.runs = {name: self._train(name, settings) for name, settings in RECIPES.items()}
        self.sound = str(next((folder / ".cache").glob("demo-*/**/*.wav")))

    def _train(self, name: str, settings: tuple[str, ...]) -> str:
        ended = commands.run(self.folder, "train", name, *settings)
        if ended.status != 0:
            raise RuntimeError(ended.printed)
        return ended.printed.split("/runs/")[-1][:32]

    def file(self, run: str, name: str) -> Path:
        """Returns a file of the run's artifacts, or of its MLflow model."""
        found = [*self.folder.glob(f"mlruns/artifacts/{run}/artifacts/{name}"), *self._model(run).rglob(name)]
        return found[0]

    def _model(self, run: str) -> Path:
        for file in self.folder.glob("mlruns/artifacts/**/MLmodel"):
            if run in file.read_text(encoding="utf-8"):
                return file.parent
        raise RuntimeError(f"no model of run {run}")

    def outcome(self, place: Place) -> str:
        """Plants, runs the command, and puts everything back; returns what went wrong, "" for a refusal in one line."""
        with self.put_back():
            place.plant(self.mark)
            ended = commands.run(self.folder, *place.words)
            if self.mark.exists():
                return f"{place.name}: the payload was run"
            if place.note and ended.status == 0 and place.note in ended.printed and "Traceback" not in ended.printed:
                return ""
            return f"{place.name}: {ended.refused}" if ended.refused else ""

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Gives every file its content back after the block; sounds are not touched, since a cache knows their dates."""
        kept = self._contents()
        yield
        for file in (now := self._contents()).keys() - kept.keys():
            file.unlink()
        for file, content in kept.items():
            if now.get(file) != content:
                file.unlink(missing_ok=True)
                for parent in file.parents:
                    if parent.is_symlink():
                        parent.unlink()
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)

    def _contents(self) -> dict[Path, bytes]:
        files = (file for file in self.folder.rglob("*") if file.suffix != ".wav")
        return {file: file.read_bytes() for file in files if file.is_file()}


RECIPES = {"demo_small_cnn": NETWORK, "demo_svm": SMALL}

"""`export`: chooses the clips of the check, exports, and prints what was measured."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from emotion_lightning.errors import UserError
from emotion_lightning.predict import sound_files
from emotion_lightning.serving import package
from emotion_lightning.serving.find import package_folder
from emotion_lightning.serving.recogniser import Recogniser

if TYPE_CHECKING:  # of the extra `onnx`, which may be missing
    from emotion_lightning.serving.onnx.about import Export, Int8, Speed
    from emotion_lightning.serving.onnx.clips import Clips

EXPORTS = Path("exports")


def export_command(
    run: str | None,
    model: str | None,
    out: Path | None,
    int8: bool,
    audio: str | None,
    data: Path | None,
    cache: Path | None,
    console: Console,
) -> None:
    """Exports the model to `out`.

    Raises: UserError where the packages of the extra are missing, for a model that cannot be exported, and for a refused one.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"EXPORT: {error.name} is missing; make export, or pip install 'emotion-lightning[onnx]', installs it"
        ) from None
    from emotion_lightning.serving.onnx.export import export

    source = package_folder(run, model)
    recogniser = package.read(source)
    target = out or EXPORTS / (recogniser.about.run[:8] if run else Path(str(model)).name.replace("@", "-"))

    def say(line: str) -> None:
        console.print(f"[dim]{escape(line)}[/]", soft_wrap=True)

    clips = _clips(recogniser, audio, data, cache, say)
    about = export(source, target, clips, int8, say)
    console.print(_lines(target, about), soft_wrap=True, highlight=False, markup=False)


def _clips(
    recogniser: Recogniser, audio: str | None, data: Path | None, cache: Path | None, say: Callable[[str], None]
) -> "Clips":
    """Finds the clips of the check; says why they are not those of the run's corpora."""
    from emotion_lightning.serving.onnx import clips

    if audio:
        return clips.of_files(sound_files(audio), recogniser)
    experiment = recogniser.model.classifier.experiment
    folders = {key: str(folder) for key, folder in (("dir", data), ("cache", cache)) if folder}
    moved = experiment.model_copy(update={"data": experiment.data.model_copy(update=folders)})
    try:
        return clips.of_run(moved, recogniser.about.classes)
    except UserError as reason:
        say(f"checked on generated voices, because the clips of the run cannot be had: {str(reason).splitlines()[0]}")
    return clips.generated(recogniser)


def _lines(target: Path, about: "Export") -> str:
    """Returns the printed lines: the file, what it takes, and what was measured."""
    parity = about.parity
    lines = [
        f"{target / about.file} · {about.megabytes:.1f} MB · opset {about.opset} · front end: {about.front_end}",
        f"  largest difference from torch {parity.largest_difference:.1e} on {parity.clips} clips ({parity.of})",
        f"  {_time(about.speed)}",
    ]
    if small := about.int8:
        lines += [
            f"{target / small.file} · {small.megabytes:.1f} MB · 8 bits ({small.method})",
            f"  largest difference from torch {small.largest_difference:.1e}, other emotion: {small.changed:.1%} of the clips",
            f"  {_time(small.speed)}",
            f"  {_scores(small)}",
        ]
    return "\n".join(lines)


def _time(speed: "Speed") -> str:
    return (
        f"a clip of 3 s on one thread: p50 {speed.p50_ms:.1f} ms, p95 {speed.p95_ms:.1f} ms, "
        f"real-time factor {speed.real_time_factor:.4f}"
    )


def _scores(small: "Int8") -> str:
    before, after = small.scores_before, small.scores
    if not before or not after:
        return "accuracy: not measured, because the clips of the run's test split are not here (DATA=<folder>)"
    return (
        f"test split: UAR {before.uar:.3f} → {after.uar:.3f}, accuracy {before.accuracy:.3f} → {after.accuracy:.3f} "
        "(32 bits → 8 bits)"
    )

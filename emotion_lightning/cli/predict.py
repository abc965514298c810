"""`predict`: a table of answers, a CSV or JSON file, and timelines of long recordings."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from emotion_lightning.data.filesystem import digest, replacing
from emotion_lightning.errors import UserError, listed, printable
from emotion_lightning.predict import Prediction, predict
from emotion_lightning.serving import timeline
from emotion_lightning.serving.recogniser import Recogniser, Recognition

TIMELINES = Path("reports/predict")
FOREIGN = "backslashreplace"  # for the bytes of a file's name that are no UTF-8
LONGEST_NAME = 240  # bytes of a file's name to which .labels.txt can be added


def predict_command(
    files: Sequence[Path],
    recogniser: Recogniser,
    out: Path | None,
    with_timeline: bool,
    console: Console,
) -> None:
    """Prints the answers for the files, with names relative to their common folder; writes them to `out`, timelines beside it.

    Raises: UserError at the end, for files without an answer.
    """
    shown = track(
        predict(files, recogniser, with_timeline),
        "listening",
        len(files),
        console=console,
        transient=True,
        disable=len(files) < 2 or not console.is_terminal,
    )
    predictions = list(shown)
    base = os.path.commonpath([file.parent for file in files])
    recordings = [file.relative_to(base) for file in files]
    names = [printable(str(recording)) for recording in recordings]
    if any(p.answer for p in predictions):
        console.print(_table(predictions, names, escape(recogniser.about.title)))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        write = _write_csv if out.suffix.lower() == ".csv" else _write_json
        with replacing(out) as part:
            write(part, predictions, recogniser.about.classes)
        console.print(f"written: {escape(str(out))}", soft_wrap=True)
    if with_timeline:
        for recording, prediction in zip(recordings, predictions, strict=True):
            if prediction.answer:
                _show_timeline(recording, prediction.answer, out.parent if out else TIMELINES, console)
    faults = [f"{name}: {p.fault}" for name, p in zip(names, predictions, strict=True) if p.fault]
    if faults:
        raise UserError(
            listed(f"{len(faults)} of {len(files)} file{'s' * (len(files) > 1)} could not be used", faults)
        )


def _table(predictions: Sequence[Prediction], names: Sequence[str], title: str) -> Table:
    table = Table(Column("file", overflow="fold"), "emotion", "confidence", "next best", "seconds", title=title)
    for name, prediction in zip(names, predictions, strict=True):
        if not (answer := prediction.answer):
            continue
        second = answer.ranked[1]
        table.add_row(
            escape(name),
            answer.emotion,
            f"{answer.confidence:.2f}",
            f"{second[0]} {second[1]:.2f}",
            f"{answer.seconds:.1f}",
        )
    if cut := sum(p.answer.windows > 1 for p in predictions if p.answer):
        table.caption = f"answered by the mean of windows, because longer than the training clips: {cut}"
    return table


def _rows(predictions: Iterable[Prediction]) -> Iterator[dict[str, Any]]:
    for prediction in predictions:
        row: dict[str, Any] = {"file": str(prediction.path), "fault": prediction.fault}
        if answer := prediction.answer:
            row |= {
                "emotion": answer.emotion,
                "confidence": answer.confidence,
                "emotions": list(answer.emotions),
                "seconds": answer.seconds,
                "windows": answer.windows,
                "probabilities": answer.probabilities,
                "segments": [asdict(segment) for segment in answer.segments],
            }
        yield row


def _write_json(file: Path, predictions: Iterable[Prediction], classes: Sequence[str]) -> None:
    text = json.dumps(list(_rows(predictions)), indent=1, ensure_ascii=False)
    file.write_text(text, encoding="utf-8", errors=FOREIGN)


def _write_csv(file: Path, predictions: Iterable[Prediction], classes: Sequence[str]) -> None:
    with file.open("w", newline="", encoding="utf-8", errors=FOREIGN) as stream:
        fields = ["file", "emotion", "confidence", "emotions", "seconds", "windows", *classes, "fault"]
        writer = csv.DictWriter(stream, fields, restval="", extrasaction="ignore")
        writer.writeheader()
        for row in _rows(predictions):
            shares = {name: f"{value:.6f}" for name, value in row.get("probabilities", {}).items()}
            writer.writerow(row | shares | {"emotions": " ".join(row.get("emotions", []))})


def _show_timeline(recording: Path, answer: Recognition, folder: Path, console: Console) -> None:
    """Prints the segments of one recording, and writes a picture and Audacity's labels to its place below `folder`."""
    name = printable(recording.name)
    table = Table("start", "end", "emotion", "confidence", title=escape(name))
    for segment in answer.segments:
        table.add_row(
            timeline.clock(segment.start), timeline.clock(segment.end), segment.emotion, f"{segment.confidence:.2f}"
        )
    console.print(table)
    is_long = len(os.fsencode(recording.name)) > LONGEST_NAME
    place = folder / recording.with_name(digest(recording.name) if is_long else recording.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    labels, picture = place.with_name(f"{place.name}.labels.txt"), place.with_name(f"{place.name}.png")
    labels.write_text(timeline.audacity_labels(answer.segments), encoding="utf-8")
    timeline.draw(answer.segments, answer.seconds, name).savefig(picture, dpi=120)
    written = printable(f"written: {labels} (Audacity: File, Import, Labels), {picture}")
    console.print(escape(written), soft_wrap=True)


def record(seconds: float, console: Console, rate: int = 16_000) -> Path:
    """Records from the default microphone to a WAV file, and returns its path.

    Raises: UserError where sounddevice or a microphone is missing.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the PortAudio library is missing
        raise UserError(
            f"MIC: sounddevice cannot be used ({error}); pip install 'emotion-lightning[mic]' installs it"
        ) from None
    import soundfile

    try:
        console.print(f"listening for {seconds:g} s …")
        samples = sounddevice.rec(round(seconds * rate), samplerate=rate, channels=1, dtype="float32", blocking=True)
    except sounddevice.PortAudioError as error:
        raise UserError(f"MIC: no recording ({error})") from None
    TIMELINES.mkdir(parents=True, exist_ok=True)
    file = TIMELINES / "microphone.wav"
    soundfile.write(file, samples, rate)
    return file

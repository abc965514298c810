"""`make audit`: an experiment's split as tables, without training. Its normaliser is fitted, to see what that reads."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotion_lightning.audit.leakage import Audit, Finding, audit
from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import EMOTIONS
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.protocols import SPLITS, promises
from emotion_lightning.training.build import build

SCIKIT = "scikit-learn fits on the training side; the validation side gives the temperature of its probabilities"
COLOUR = {"ok": "green", "allowed": "yellow", "LEAK": "red", "BROKEN": "red"}


def show(experiment: Experiment, console: Console) -> bool:
    """Prints what was found; True if something leaks."""
    data, model = build(experiment, console)
    found, saw = audit(data), data.count_reads("normaliser", "test")
    promised = promises(experiment.protocol.name)
    promise = f"promises no {' and no '.join(promised)} on both sides" if promised else "promises nothing of speakers"
    console.print(
        Text(f"{experiment.title_prefix}{experiment.name} · protocol {experiment.protocol.name} {promise}", "bold")
    )
    console.print(_findings(found), _balance(found))
    for line in found.duplicates[:10]:
        console.print(Text(f"equal audio: {line}"))
    if len(found.duplicates) > 10:
        console.print(f"and {len(found.duplicates) - 10} more pairs of equal audio")
    for finding in found.findings:
        if finding.example and finding.verdict != "ok":
            console.print(Text(f"{finding}, {finding.label}, such as {finding.example}"), soft_wrap=True)
    console.print(_chosen(data, saw) if model.trains_in_steps else SCIKIT, soft_wrap=True)
    leaks = [*map(_told, found.leaks()), *(["the normaliser read test clips"] if saw else [])]
    known = next(f for f in found.findings if (f.name, f.split) == ("speaker", "test"))
    but = (
        f"; {known.clips} of {known.total} test clips are by speakers who stand on another side too"
        if known.clips
        else ""
    )
    console.print(Text("; ".join(leaks) if leaks else f"no leak found{but}", "red" if leaks else "green"))
    return bool(leaks)


def _chosen(data: EmotionData, saw: int) -> str:
    fit = data.experiment.fit
    kept = f"chosen by {fit.monitor} on the validation side" if fit.keep == "best" else "the last one"
    return f"the normaliser read {saw} test clips; the epoch kept is {kept}"


def _told(finding: Finding) -> str:
    return f"{finding.verdict}: {finding}: {finding.label}"


def _findings(found: Audit) -> Table:
    """Allowed: the protocol does not promise otherwise."""
    table = Table("on two sides", "test clips", "are", "val. clips", "are", title="what stands on two sides")
    for test, val in zip(*([f for f in found.findings if f.split == side] for side in ("test", "val")), strict=True):
        cells = (cell for f in (test, val) for cell in (f"{f.clips} of {f.total}", _verdict(f)))
        table.add_row(test.label, *cells)
    return table


def _verdict(finding: Finding) -> Text:
    return Text(finding.verdict, COLOUR[finding.verdict])


def _balance(found: Audit) -> Table:
    table = Table("emotion", *SPLITS, title="clips of each side")
    for emotion in EMOTIONS:
        counts = [found.emotion_counts[side][emotion] for side in SPLITS]
        if any(counts):
            shares = (100 * n / found.emotion_counts[side].total() for n, side in zip(counts, SPLITS, strict=True))
            table.add_row(emotion, *(f"{n} ({share:.0f} %)" for n, share in zip(counts, shares, strict=True)))
    return table

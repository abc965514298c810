"""`make audit`: the split of an experiment as tables, without training. The normaliser is fitted, to count what it reads."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotion_lightning.audit.leakage import Audit, Finding, audit
from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import EMOTIONS
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.protocols import SPLITS, promises
from emotion_lightning.training.build import build

SCIKIT = "scikit-learn fits on the training split; the validation split sets the temperature of its probabilities"
COLOUR = {"ok": "green", "allowed": "yellow", "LEAK": "red", "BROKEN": "red", "not compared": "yellow"}


def show(experiment: Experiment, console: Console) -> bool:
    """Prints the findings of the audit; returns True if something leaks."""
    data, model = build(experiment, console)
    findings, reads = audit(data), data.count_reads("normaliser", "test")
    promised = promises(experiment.protocol.name)
    promise = (
        f"promises no {' and no '.join(promised)} in two splits" if promised else "promises nothing about speakers"
    )
    console.print(
        Text(f"{experiment.title_prefix}{experiment.name} · protocol {experiment.protocol.name} {promise}", "bold")
    )
    console.print(_findings(findings), _emotions(findings))
    for line in findings.duplicates[:10]:
        console.print(Text(f"equal audio: {line}"))
    if len(findings.duplicates) > 10:
        console.print(f"and {len(findings.duplicates) - 10} more pairs of equal audio")
    for finding in findings.findings:
        if finding.example and finding.verdict != "ok":
            console.print(Text(f"{finding}, {finding.label}, for example {finding.example}"), soft_wrap=True)
    for origin in model.pretrained:
        console.print(origin.sentence(), soft_wrap=True, markup=False)
    console.print(_chosen_epoch(data, reads) if model.trains_in_steps else SCIKIT, soft_wrap=True)
    leaks = [f"{leak.verdict}: {leak}: {leak.label}" for leak in findings.leaks()]
    if reads:
        leaks.append("the normaliser read test clips")
    known = next(f for f in findings.findings if (f.name, f.split) == ("speaker", "test"))
    overlap = f"; {known.clips} of {known.total} test {known.noun} are by speakers who are also in another split"
    result = "; ".join(leaks) if leaks else "no leak found" + (overlap if known.clips else "")
    console.print(Text(result, "red" if leaks else "green"), soft_wrap=True)
    return bool(leaks)


def _chosen_epoch(data: EmotionData, reads: int) -> str:
    fit = data.experiment.fit
    kept = f"chosen by {fit.monitor} on the validation split" if fit.keep == "best" else "the last one"
    return f"the normaliser read {reads} test clips; the epoch kept is {kept}"


def _findings(audit: Audit) -> Table:
    """Returns a table of what is in two splits; "allowed" means that the protocol does not promise otherwise."""
    noun = audit.findings[0].noun
    table = Table(
        "in two splits", f"test {noun}", "verdict", f"val. {noun}", "verdict", title="what is in two splits"
    )
    by_split = ([f for f in audit.findings if f.split == name] for name in ("test", "val"))
    for test, val in zip(*by_split, strict=True):
        cells = (cell for f in (test, val) for cell in (f"{f.clips} of {f.total}", _verdict(f)))
        note = " (of clips as recorded)" if test.noun != noun else ""
        table.add_row(test.label + note, *cells)
    return table


def _verdict(finding: Finding) -> Text:
    return Text(finding.verdict, COLOUR[finding.verdict])


def _emotions(audit: Audit) -> Table:
    table = Table("emotion", *SPLITS, title=f"{audit.findings[0].noun} of each split")
    for emotion in EMOTIONS:
        counts = [audit.emotion_counts[name][emotion] for name in SPLITS]
        if any(counts):
            totals = [audit.emotion_counts[name].total() for name in SPLITS]
            cells = (f"{n} ({100 * n / total:.0f} %)" for n, total in zip(counts, totals, strict=True))
            table.add_row(emotion, *cells)
    return table

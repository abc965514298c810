"""Writes what the audit found, for readers of a run: one sentence, and a table with a row for each check."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from emotion_lightning.audit.leakage import Audit
from emotion_lightning.weights import Origin

TAG = "audit"
"""The tag of a run that holds the sentence. Runs of earlier versions have one tag for each finding instead."""
ABSENT = {"speaker": {"speaker"}, "clip": {"clip"}, "sound": {"content", "near_equal_audio", "altered_copy"}}
"""What the sentence says is in no two splits, with the findings that must be empty for it."""


def sentence(audit: Audit, normalised: int = 0) -> str:
    """Returns the findings in one sentence, which starts with ok, known speakers, USES TEST SPEAKERS, LEAK or BROKEN.

    `normalised` is the number of test clips that `data.normalise_speakers` has read.
    """
    leaks = audit.leaks()
    known = [f for f in audit.findings if (f.name, f.verdict) == ("speaker", "allowed")][
        :1
    ]  # of the test split, if it has
    clauses = [f"{finding} share {finding.label} with another split" for finding in [*leaks, *known]]
    if normalised:
        clauses.append(f"features were normalised with {normalised} test clips")
    if leaks:
        mark = leaks[0].verdict
    elif normalised:
        mark = "USES TEST SPEAKERS"
    else:
        mark = "known speakers" if known and known[0].split == "test" else "ok"
    return f"{mark}: {'; '.join([*clauses, *_absent(audit)])}"


def _absent(audit: Audit) -> list[str]:
    """Returns what is in no two splits, and what was not compared."""
    # two takes by one speaker may be as similar as a copy, and are no sound in two splits
    present = {f.name for f in audit.findings if f.clips and (f.name, f.verdict) != ("altered_copy", "allowed")}
    uncompared = {f.name for f in audit.findings if f.verdict == "not compared"}
    names = [name for name, needed in ABSENT.items() if not needed & (present | uncompared)]
    listed = " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return [
        *([f"no {listed} in two splits"] if names else []),
        *(["not all sounds were compared"] if uncompared else []),
    ]


def write(file: Path, audit: Audit, reads: Mapping[str, int], weights: Iterable[Origin]) -> None:
    """Writes one row for each check of the audit, for each purpose that test clips may be read for, and for outside weights.

    `reads` has the number of test clips that were read for each purpose before the evaluation.
    """
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["what", "split", "verdict", "clips", "of", "example"])
        for f in audit.findings:
            writer.writerow([f.label, f.split, f.verdict, f.clips, f.total, f.example])
        total = next(f.total for f in audit.findings if f.split == "test")
        for purpose, count in reads.items():
            verdict = "ok" if not count else "USES TEST SPEAKERS" if purpose == "speaker normaliser" else "BROKEN"
            writer.writerow([f"read by the {purpose}", "test", verdict, count, total, ""])
        for origin in weights:
            writer.writerow(["outside weights", "", "told", "", "", origin.sentence()])

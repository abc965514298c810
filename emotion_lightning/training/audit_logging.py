"""Logs what the audit found, and checks that the test split stayed closed until the evaluation."""

from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow

from emotion_lightning.audit import summary
from emotion_lightning.audit.leakage import Audit
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.training.inference import Model

CLOSED = ("normaliser", "fit")
"""The purposes that no test clip may be read for."""


def audit_tag(findings: Audit, data: EmotionData) -> dict[str, str]:
    """Returns the tag that says in one sentence what the audit found."""
    return {summary.TAG: summary.sentence(findings, data.count_reads("speaker normaliser", "test"))}


def log_audit(findings: Audit, data: EmotionData, model: Model) -> None:
    """Logs audit.csv, with the number of test clips that were read for each purpose so far."""
    purposes = [*CLOSED, *(["speaker normaliser"] if data.experiment.data.normalise_speakers else [])]
    reads = {purpose: data.count_reads(purpose, "test") for purpose in purposes}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "audit.csv"
        summary.write(file, findings, reads, model.pretrained)
        mlflow.log_artifact(str(file))


def check_test_split_unread(data: EmotionData) -> None:
    """Checks that no test clip was read so far. If one was, the tag `audit` says so.

    Raises: UserError if a test clip was read for the normaliser or the fit.
    """
    for purpose in CLOSED:
        if count := data.count_reads(purpose, "test"):
            fault = f"{count} test clips were read for the {purpose}, before the evaluation"
            mlflow.set_tag(summary.TAG, f"BROKEN: {fault}")
            raise UserError(f"audit: {fault}")

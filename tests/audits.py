"""Experiments to audit, and what the audit finds in them."""

from pathlib import Path

from emotion_lightning.audit.leakage import Audit, Finding, audit
from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData


def experiment(corpora: dict, cache: Path, protocol: str = "random", **tree: object) -> Experiment:
    whole = {
        "name": "audited",
        "corpora": corpora,
        "protocol": {"name": protocol},
        "features": {"name": "mfcc", "frames": 32},
        "model": {"name": "svm"},
        "data": {"cache": str(cache)},
    }
    return settings.check(whole | tree)


def audited(chosen: Experiment) -> Audit:
    data = EmotionData(chosen)
    data.setup()
    return audit(data)


def finding(found: Audit, name: str, split_name: str = "test") -> Finding:
    return next(f for f in found.findings if (f.name, f.split) == (name, split_name))

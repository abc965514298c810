"""Speech emotion recognition experiments on PyTorch Lightning and MLflow.

One run goes this way, and imports point the same way::

    experiments/X.yaml ─ config ─► Experiment (typed, frozen)
    corpora/*.py   ─► clips (path, emotion, speaker, sentence, take …)
    protocols/*.py ─► Split(train, val, test) of clips
    features/*.py  ─► data.cache (waveforms, spectrograms; memory-mapped) ─► data.datamodule (batches)
    models/*.py in training.classifier ─► training.fit ─► training.evaluation (probabilities, scores)
    tracking (MLflow) ─► report (tables, figures, published figures)
"""

import os

__version__ = "0.1.0"

# Turns off the usage reports of our libraries. They read these variables at import.
for _switch in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE"):
    os.environ.setdefault(_switch, "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

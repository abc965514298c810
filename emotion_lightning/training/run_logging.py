"""What a run logs to MLflow in addition to its scores: tags, settings, environment, data, and checkpoints."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import yaml

from emotion_lightning.config.ranks import resolve_ranks
from emotion_lightning.config.schema import USES_TEST_SPEAKERS, Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.filesystem import digest
from emotion_lightning.protocols import SPLITS
from emotion_lightning.tracking import environment
from emotion_lightning.tracking import run as tracking
from emotion_lightning.training import hardware
from emotion_lightning.training.fit import Fitted
from emotion_lightning.training.inference import Model
from emotion_lightning.training.samples import write_samples

TAG_LIMIT = 5000  # characters, MLflow's limit for a value


def run_tags(experiment: Experiment, data: EmotionData, model: Model) -> dict[str, str]:
    """Returns the tags by which runs are found, compared and explained."""
    ranks = resolve_ranks(experiment.fit)
    tags = {
        "experiment": experiment.name,
        "signature": experiment.signature(),
        "protocol": experiment.protocol.name,
        "corpora": "+".join(experiment.corpora),
        "data/digest": data.digest(*SPLITS),
        "data/clips": digest([(c.corpus, c.id, c.emotion) for c in data.clips]),
        "seed": str(experiment.seed),
        "DEMO": str(experiment.is_demo),
        "LEAKY": str(experiment.is_leaky),
        "machine/precision": model.precision_name,
        "machine/devices": str(ranks.count if model.trains_in_steps else 1),
        "machine/nodes": str(ranks.machines if model.trains_in_steps else 1),
        **environment.machine_tags(model.device_name),
        **environment.commit_tags(),
    }
    if model.trains_in_steps:
        tags["machine/memory_format"] = hardware.memory_format()
    if model.pretrained:
        tags["weights"] = "; ".join(map(str, model.pretrained))
    if data.notes:
        tags["data/notes"] = "\n".join(data.notes)[:TAG_LIMIT]
    if experiment.data.normalise_speakers:
        tags[USES_TEST_SPEAKERS] = "True"
    if "fold" in experiment.protocol.args:
        tags["fold"] = str(experiment.protocol.args["fold"])
    return tags


def log_inputs(experiment: Experiment, data: EmotionData) -> None:
    """Logs what is known before the first step: settings, environment, data, samples and bad clips."""
    # without the name, which comes from the file: so settings.yaml can be trained again as it is
    settings = experiment.model_dump(mode="json", exclude={"name"})
    mlflow.log_text(yaml.safe_dump(settings, sort_keys=False), "settings.yaml")
    mlflow.log_text(environment.installed_packages(), "environment.txt")
    name = ("DEMO " if experiment.is_demo else "") + "+".join(experiment.corpora)
    for split in SPLITS:
        clips = [data.clips[i] for i in data.split.indices(split)]
        counts = {f"clips/{emotion}": str(n) for emotion, n in Counter(c.emotion for c in clips).items()}
        speakers = str(len({clip.speaker for clip in clips}))
        tracking.log_data(name, data.digest(split), split, {"clips": str(len(clips)), "speakers": speakers, **counts})
    _log_samples(data)
    if data.bad_clips:
        mlflow.log_text("\n".join(data.bad_clips), "bad_clips.txt")
        mlflow.set_tag("bad_clips", str(len(data.bad_clips)))


def _log_samples(data: EmotionData) -> None:
    """Logs some training clips as sound and picture, as many as `data.samples` says."""
    if count := data.experiment.data.samples:
        with TemporaryDirectory() as folder:
            write_samples(data, count, Path(folder))
            mlflow.log_artifacts(folder, "samples")


def log_choice(fitted: Fitted) -> None:
    """Tags the run with what a search of scikit-learn chose, if the model is one."""
    chosen = getattr(getattr(fitted.tested, "estimator", None), "best_params_", None)
    if chosen:
        mlflow.set_tag("chosen", ", ".join(f"{name.rsplit('__')[-1]}={value}" for name, value in chosen.items()))


def log_checkpoint(fitted: Fitted) -> None:
    """Logs the checkpoint of the tested weights. The whole state, last.ckpt, is needed for a resume only."""
    mlflow.log_artifact(str(fitted.kept), "checkpoints")

"""Copies one run from an MLflow store into another, repeatedly. Data that the target has is not sent again.

Before the first copy, and after each copy that failed, a replica asks the target which params, tags and metrics it has. So
a request is not repeated if it arrived and only its answer was lost. (MLflow's database would ignore the repetition: key,
time, step and value of a metric are its primary key.) Files and models are overwritten.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities import DatasetInput, Experiment, LoggedModel, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from emotion_lightning.errors import UserError

COPY_OF = "copy_of"
"""Tag of a model or run that was copied under a new id. The value is the original id."""
BATCH, METRIC_BATCH = 100, 1000  # MLflow's limits for params or tags, and for metrics, in one call


@dataclass
class _Sent:
    """The part of the run that the target has."""

    params: set[str]
    tags: dict[str, str]
    metrics: set[tuple[str, int, int]]
    inputs: set[tuple[str, ...]]
    files: dict[Path, tuple[int, int]] = field(default_factory=dict)  # size and mtime when they were sent
    models: set[str] = field(default_factory=set)


@dataclass
class Replica:
    """Copies run `source_id` of `source` into run `target_id` of `target`. Both runs exist."""

    source: MlflowClient
    source_id: str
    target: MlflowClient
    target_id: str
    sent: _Sent | None = None

    def copy_values(self) -> None:
        """Sends the params, tags and metrics that the target lacks, with the time and step of each metric."""
        try:
            self._copy_values(self.source.get_run(self.source_id))
        except BaseException:
            self.sent = None
            raise

    def copy_all(self, artifacts: Path) -> None:
        """Sends params, tags, metrics, data sets, artifacts and models.

        `artifacts` is the present folder of the source experiment's artifacts. It may have been moved since they were
        written.
        """
        try:
            run = self.source.get_run(self.source_id)
            sent = self._copy_values(run)
            self._copy_inputs(run, sent)
            folder = self._folder(run.info.artifact_uri, run.info.experiment_id, artifacts)
            self._copy_files(folder, sent)
            models = self.source.search_logged_models([run.info.experiment_id], f"source_run_id = '{self.source_id}'")
            known = {model.model_id for model in models}  # the run also names those that were deleted
            for output in run.outputs.model_outputs if run.outputs else ():
                if output.model_id in known:
                    self._copy_model(output, sent, artifacts)
        except BaseException:
            self.sent = None
            raise

    def copy_end(self) -> None:
        """Sends status and end time. Call this last, so that a run that has ended at the target is complete."""
        info = self.source.get_run(self.source_id).info
        self.target.set_terminated(self.target_id, info.status, info.end_time)

    def _copy_values(self, run: Run) -> _Sent:
        sent = self.sent = self.sent or self._ask_target()
        params = [Param(k, v) for k, v in run.data.params.items() if k not in sent.params]
        for batch in _batches(params, BATCH):
            self.target.log_batch(self.target_id, params=batch)
            sent.params |= {param.key for param in batch}
        tags = [RunTag(k, v) for k, v in run.data.tags.items() if sent.tags.get(k) != v]
        for batch in _batches(tags, BATCH):
            self.target.log_batch(self.target_id, tags=batch)
            sent.tags |= {tag.key: tag.value for tag in batch}
        new = [m for m in _metrics(self.source, run) if _metric_key(m) not in sent.metrics]
        for batch in _batches(sorted(new, key=lambda m: (m.timestamp, m.step)), METRIC_BATCH):
            self.target.log_batch(self.target_id, metrics=batch)
            sent.metrics |= {_metric_key(m) for m in batch}
        return sent

    def _ask_target(self) -> _Sent:
        run = self.target.get_run(self.target_id)
        metrics = {_metric_key(m) for m in _metrics(self.target, run)}
        return _Sent(set(run.data.params), dict(run.data.tags), metrics, set(_inputs(run)))

    def _copy_inputs(self, run: Run, sent: _Sent) -> None:
        for key, data in _inputs(run).items():
            if key not in sent.inputs:
                self.target.log_inputs(self.target_id, datasets=[data])
                sent.inputs.add(key)

    def _copy_files(self, folder: Path, sent: _Sent) -> None:
        for file in _own_files(folder):
            state = (file.stat().st_size, file.stat().st_mtime_ns)
            if sent.files.get(file) != state:
                parent = file.relative_to(folder).parent.as_posix()
                self.target.log_artifact(self.target_id, str(file), None if parent == "." else parent)
                sent.files[file] = state

    def _copy_model(self, output: LoggedModelOutput, sent: _Sent, artifacts: Path) -> None:
        """Copies a model under a new id of the target, and writes this id into the copy's description."""
        model = self.source.get_logged_model(output.model_id)
        if model.model_id in sent.models or model.status != "READY":
            return
        run = self.target.get_run(self.target_id)
        copies = self.target.search_logged_models(
            [run.info.experiment_id], f"source_run_id = '{self.target_id}' AND tags.{COPY_OF} = '{model.model_id}'"
        )
        copy = copies[0] if copies else self._create_model(model, run.info.experiment_id)
        if copy.status != "READY":
            with tempfile.TemporaryDirectory() as temporary:
                files = self._folder(model.artifact_location, model.experiment_id, artifacts)
                renamed = _with_new_ids(files, copy, self.target_id, Path(temporary))
                self.target.log_model_artifacts(copy.model_id, str(renamed))
            self.target.finalize_logged_model(copy.model_id, "READY")
        if copy.model_id not in {o.model_id for o in (run.outputs.model_outputs if run.outputs else ())}:
            self.target.log_outputs(self.target_id, [LoggedModelOutput(copy.model_id, output.step)])
        sent.models.add(model.model_id)

    def _folder(self, uri: str, experiment_id: str, artifacts: Path) -> Path:
        """Returns the present folder of an artifact URI of the source.

        Raises: UserError for one that is not in `artifacts`.
        """
        written_to = local_file_uri_to_path(self.source.get_experiment(experiment_id).artifact_location)
        folder = artifacts / os.path.relpath(local_file_uri_to_path(uri), written_to)
        if not folder.resolve().is_relative_to(artifacts.resolve()):
            raise UserError(f"RUN: the run names files that are not in '{artifacts}': {uri}")
        return folder

    def _create_model(self, model: LoggedModel, experiment_id: str) -> LoggedModel:
        return self.target.create_logged_model(
            experiment_id, model.name, self.target_id, {COPY_OF: model.model_id}, model.params, model.model_type
        )


def find_or_create_experiment(source: Experiment, target: MlflowClient, artifacts: str | None = None) -> str:
    """Returns the id of the target's experiment with the same name. A missing one is made, with `artifacts` as its URI."""
    if existing := target.get_experiment_by_name(source.name):
        return str(existing.experiment_id)
    return str(target.create_experiment(source.name, artifact_location=artifacts, tags=source.tags))


def _with_new_ids(files: Path, copy: LoggedModel, run_id: str, parent: Path) -> Path:
    """Copies a model's files into `parent` and writes the ids of the copy into its MLmodel file."""
    folder = parent / "model"
    _own_files(files)
    shutil.copytree(files, folder)
    file = folder / "MLmodel"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    tree |= {"run_id": run_id, "model_id": copy.model_id, "artifact_path": copy.artifact_location}
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return folder


def _own_files(folder: Path) -> list[Path]:
    """Returns the files below a folder, sorted.

    Raises: UserError for a link: what it leads to may be any file of this machine.
    """
    files = sorted(folder.rglob("*"))
    if link := next((file for file in files if file.is_symlink()), None):
        raise UserError(f"RUN: '{link}' is a link; a run has only files of its own")
    return [file for file in files if file.is_file()]


def _metrics(client: MlflowClient, run: Run) -> Iterator[Metric]:
    for name in run.data.metrics:
        yield from client.get_metric_history(run.info.run_id, name)


def _metric_key(metric: Metric) -> tuple[str, int, int]:
    return metric.key, metric.timestamp, metric.step


def _inputs(run: Run) -> dict[tuple[str, ...], DatasetInput]:
    """Returns the run's data sets by name, digest and split."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {(d.dataset.name, d.dataset.digest, *sorted(tag.value for tag in d.tags)): d for d in inputs}


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

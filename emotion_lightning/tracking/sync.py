"""One run copied from an MLflow store into another, again and again: what is there already is not sent a second time.

Before its first copy, and again after any that failed, a replica asks the target which params, tags and metrics it has; so a
request that arrived although its answer did not is not repeated. (MLflow's own database would pass over it as well: key,
time, step and value of a metric are its primary key.) Files and models are overwritten in place.
"""

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

COPY_OF = "copy_of"
"""Tag of a model, or of a run, that was copied under another id: the id that it had."""
BATCH = 100  # params or tags in one call; MLflow's limit, as is 1000 for metrics


@dataclass
class _There:
    """What the target has of the run."""

    params: set[str]
    tags: dict[str, str]
    metrics: set[tuple[str, int, int]]
    inputs: set[tuple[str, ...]]
    files: dict[Path, tuple[int, int]] = field(default_factory=dict)  # as they were when they were sent
    models: set[str] = field(default_factory=set)


@dataclass
class Replica:
    """Copies run `source_id` of `source` into run `target_id` of `target`; both runs exist."""

    source: MlflowClient
    source_id: str
    target: MlflowClient
    target_id: str
    there: _There | None = None

    def figures(self) -> None:
        """Sends params, tags, and metrics with their own times and steps, as far as the target lacks them."""
        try:
            self._figures(self.source.get_run(self.source_id))
        except BaseException:
            self.there = None
            raise

    def everything(self, disk: Path) -> None:
        """Sends the figures, data sets, artifacts and models. `disk`: where the artifacts of the source's experiment lie now,
        which need not be where they were written."""
        try:
            run = self.source.get_run(self.source_id)
            there = self._figures(run)
            self._inputs(run, there)
            self._files(self._now(run.info.artifact_uri, run.info.experiment_id, disk), there)
            for output in run.outputs.model_outputs if run.outputs else ():
                self._model(output, there, disk)
        except BaseException:
            self.there = None
            raise

    def end(self) -> None:
        """Sends status and end time: the last thing, so that a run that has ended at the target is whole there."""
        info = self.source.get_run(self.source_id).info
        self.target.set_terminated(self.target_id, info.status, info.end_time)

    def _figures(self, run: Run) -> _There:
        there = self.there = self.there or self._look()
        params = [Param(k, v) for k, v in run.data.params.items() if k not in there.params]
        for some in _batches(params, BATCH):
            self.target.log_batch(self.target_id, params=some)
            there.params |= {param.key for param in some}
        tags = [RunTag(k, v) for k, v in run.data.tags.items() if there.tags.get(k) != v]
        for some in _batches(tags, BATCH):
            self.target.log_batch(self.target_id, tags=some)
            there.tags |= {tag.key: tag.value for tag in some}
        new = [m for m in _metrics(self.source, run) if _place(m) not in there.metrics]
        for some in _batches(sorted(new, key=lambda m: (m.timestamp, m.step)), 1000):
            self.target.log_batch(self.target_id, metrics=some)
            there.metrics |= {_place(m) for m in some}
        return there

    def _look(self) -> _There:
        run = self.target.get_run(self.target_id)
        metrics = {_place(m) for m in _metrics(self.target, run)}
        return _There(set(run.data.params), dict(run.data.tags), metrics, set(_inputs(run)))

    def _inputs(self, run: Run, there: _There) -> None:
        for place, data in _inputs(run).items():
            if place not in there.inputs:
                self.target.log_inputs(self.target_id, datasets=[data])
                there.inputs.add(place)

    def _files(self, folder: Path, there: _There) -> None:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            state = (file.stat().st_size, file.stat().st_mtime_ns)
            if there.files.get(file) != state:
                place = file.relative_to(folder).parent.as_posix()
                self.target.log_artifact(self.target_id, str(file), None if place == "." else place)
                there.files[file] = state

    def _model(self, output: LoggedModelOutput, there: _There, disk: Path) -> None:
        """The model under an id of the target's, which its own description then names."""
        model = self.source.get_logged_model(output.model_id)
        if model.model_id in there.models or model.status != "READY":
            return
        run = self.target.get_run(self.target_id)
        kept = self.target.search_logged_models(
            [run.info.experiment_id], f"source_run_id = '{self.target_id}' AND tags.{COPY_OF} = '{model.model_id}'"
        )
        copy = kept[0] if kept else self._create(model, run.info.experiment_id)
        if copy.status != "READY":
            with tempfile.TemporaryDirectory() as place:
                files = self._now(model.artifact_location, model.experiment_id, disk)
                described = _described(files, copy, self.target_id, Path(place))
                self.target.log_model_artifacts(copy.model_id, str(described))
            self.target.finalize_logged_model(copy.model_id, "READY")
        if copy.model_id not in {o.model_id for o in (run.outputs.model_outputs if run.outputs else ())}:
            self.target.log_outputs(self.target_id, [LoggedModelOutput(copy.model_id, output.step)])
        there.models.add(model.model_id)

    def _now(self, uri: str, experiment_id: str, disk: Path) -> Path:
        written = local_file_uri_to_path(self.source.get_experiment(experiment_id).artifact_location)
        return disk / Path(local_file_uri_to_path(uri)).relative_to(written)

    def _create(self, model: LoggedModel, experiment_id: str) -> LoggedModel:
        return self.target.create_logged_model(
            experiment_id, model.name, self.target_id, {COPY_OF: model.model_id}, model.params, model.model_type
        )


def experiment(source: Experiment, target: MlflowClient, place: str | None = None) -> str:
    """The id of the target's experiment of that name, made where it is missing."""
    if found := target.get_experiment_by_name(source.name):
        return str(found.experiment_id)
    kind = {k: v for k, v in source.tags.items() if k == "mlflow.experimentKind"}
    return str(target.create_experiment(source.name, artifact_location=place, tags=kind))


def _described(files: Path, copy: LoggedModel, run_id: str, place: Path) -> Path:
    """A model's files, copied to `place`, with the ids of the copy in its MLmodel."""
    folder = place / "model"
    shutil.copytree(files, folder)
    file = folder / "MLmodel"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    tree |= {"run_id": run_id, "model_id": copy.model_id, "artifact_path": copy.artifact_location}
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return folder


def _metrics(client: MlflowClient, run: Run) -> Iterator[Metric]:
    for name in run.data.metrics:
        yield from client.get_metric_history(run.info.run_id, name)


def _place(metric: Metric) -> tuple[str, int, int]:
    return metric.key, metric.timestamp, metric.step


def _inputs(run: Run) -> dict[tuple[str, ...], DatasetInput]:
    """The run's data sets by name, digest and side."""
    found = run.inputs.dataset_inputs if run.inputs else []
    return {(d.dataset.name, d.dataset.digest, *sorted(tag.value for tag in d.tags)): d for d in found}


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

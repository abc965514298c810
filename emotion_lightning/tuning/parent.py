"""The search's own run in MLflow, the parent of the runs of its trials."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient
from optuna.study import Study

from emotion_lightning.protocols import leaks
from emotion_lightning.studies.state import PARENT_TAG
from emotion_lightning.tracking import environment, store
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tuning import storage, tables
from emotion_lightning.tuning.request import Request
from emotion_lightning.tuning.winner import Winner

NUMBER_TAG = "trial/number"


def open_parent(client: MlflowClient, request: Request, name: str) -> str:
    """Sets the search's own run to RUNNING, or makes it, and returns its id."""
    experiment = request.experiment
    tags = {
        "kind": "tuning",
        "tuning": name,
        "experiment": experiment.name,
        "protocol": experiment.protocol.name,
        "corpora": "+".join(experiment.corpora),
        "seed": str(experiment.seed),
        "DEMO": str(experiment.is_demo),
        "LEAKY": str(leaks(experiment.protocol.name)),
        "trials": str(request.trials),
        **environment.process_tags(),
        **environment.commit_tags(),
    }
    existing = next(store.runs(client, f"tags.tuning = '{name}' and tags.kind = 'tuning'"), None)
    if existing is None:
        title = f"{experiment.title_prefix.removeprefix('DEMO · ')}tune {experiment.name}"
        experiment_id = tracking.experiment_id(client, experiment)
        existing = client.create_run(experiment_id, run_name=title, tags=tags)
    else:
        for key, value in tags.items():
            client.set_tag(existing.info.run_id, key, value)
        client.update_run(existing.info.run_id, "RUNNING")
    _log_params(client, existing.info.run_id, request)
    return str(existing.info.run_id)


def _log_params(client: MlflowClient, run_id: str, request: Request) -> None:
    """Logs the settings of the experiment, the ranges and the number of inner folds, as far as the run lacks them."""
    logged = client.get_run(run_id).data.params
    ranges = {f"search/{path}": str(candidates) for path, candidates in request.ranges.items()}
    values = {**request.experiment.flat(), **ranges, "inner_folds": str(request.folds)}
    params = [Param(key, value[: tracking.PARAM_LIMIT]) for key, value in values.items() if key not in logged]
    for start in range(0, len(params), 100):  # MLflow's limit for one call
        client.log_batch(run_id, params=params[start : start + 100])


def trial_tags(parent_id: str, request: Request, number: int) -> dict[str, str]:
    """Returns the tags of the run of a trial, by which MLflow's pages put it below its parent."""
    return {
        PARENT_TAG: parent_id,
        "kind": "trial",
        "experiment": request.experiment.name,
        NUMBER_TAG: str(number),
    }


def log_results(client: MlflowClient, parent_id: str, request: Request, study: Study, found: Winner) -> None:
    """Logs the table of trials, plots, the experiment file and the best score to the search's own run."""
    from emotion_lightning.tuning import plots

    title = f"{request.experiment.title_prefix}tune {request.experiment.name} · {request.experiment.protocol.name}"
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tables.write_trials(folder / "trials.csv", request, study)
        plots.history(study, title).savefig(folder / "history.png", dpi=120)
        if importances := tables.importances(study):
            plots.importance(importances, title).savefig(folder / "importance.png", dpi=120)
        (folder / found.file.name).write_text(found.file.read_text(encoding="utf-8"), encoding="utf-8")
        client.log_artifacts(parent_id, str(folder))
    now = int(time.time() * 1000)
    figures = {"tune/uar": found.uar, "tune/uar_sd": found.spread, "tune/trials": len(storage.finished(study))}
    figures["tune/pruned"] = found.pruned
    client.log_batch(parent_id, metrics=[Metric(key, value, now, 0) for key, value in figures.items()])
    client.set_tag(parent_id, "trial/best", str(found.trial))
    client.set_tag(parent_id, "mlflow.note.content", tables.note(title, found))

"""What a run leaves that fails, and what it says."""

from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from rich.console import Console
from small_run import SVM, small

from emotion_lightning.errors import UserError
from emotion_lightning.tracking import run as tracking
from emotion_lightning.train import build, train


def run_of_seed(seed: int) -> Run:
    """The only run of this seed, which a test uses for this one run."""
    client = MlflowClient()
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()], f"params.seed = '{seed}'")
    return run


def test_a_fault_in_a_part_leaves_no_run(workplace: Path, demo_data: Path) -> None:
    before = len(mlflow.search_runs(search_all_experiments=True))
    with pytest.raises(UserError, match="no network 'resnet3a'; did you mean"):
        train(small(demo_data, model="{name: timm_backbone, backbone: resnet3a, weights: none}"), Console(quiet=True))
    assert len(mlflow.search_runs(search_all_experiments=True)) == before


def test_a_crash_in_training_leaves_a_failed_run(workplace: Path, demo_data: Path) -> None:
    experiment = small(
        demo_data,
        **{
            "seed": "76",
            "data.batch_size": "1",
            "model": "{name: timm_backbone, backbone: resnet10t, weights: none}",
        },
    )
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # batch norm of one clip
        train(experiment, Console(quiet=True))
    assert run_of_seed(76).info.status == "FAILED"


def test_a_run_whose_loss_is_not_finite_fails_with_the_way_out(workplace: Path, demo_data: Path) -> None:
    options = {"fit.optimizer": "sgd", "fit.stages.small.lr": "1e12", "fit.stages.large.lr": "1e12"}
    with pytest.raises(
        UserError, match=r"not finite .* in epoch 1, step \d of \d, at the learning rate .* try a lower lr"
    ):
        train(small(demo_data, seed="77", **options), Console(quiet=True))
    run = run_of_seed(77)
    assert run.info.status == "FAILED" and "not finite" in run.data.tags["failure"]
    assert "test/uar" not in run.data.metrics


def test_a_deleted_mlflow_experiment_is_an_error_with_the_way_out(workplace: Path, demo_data: Path) -> None:
    client = MlflowClient()
    deleted = tracking.experiment_id(client, small(demo_data))
    client.delete_experiment(deleted)
    try:
        with pytest.raises(UserError, match=r"experiment 'DEMO' was deleted; .* mlflow experiments restore"):
            train(small(demo_data, **SVM), Console(quiet=True))
    finally:
        client.restore_experiment(deleted)


def test_a_failure_that_cannot_be_written_down_is_still_the_error_and_the_run_is_failed(
    workplace: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(key: str, value: str) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(mlflow, "set_tag", locked)
    options = {"fit.optimizer": "sgd", "fit.stages.small.lr": "1e12", "fit.stages.large.lr": "1e12", "seed": "78"}
    with pytest.raises(UserError, match="not finite"):
        train(small(demo_data, **options), Console(quiet=True))
    run = run_of_seed(78)
    assert run.info.status == "FAILED" and mlflow.active_run() is None


def test_one_emotion_is_too_few(workplace: Path, demo_data: Path) -> None:
    emotions = {f"emotions.{e}": "off" for e in ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")}
    with pytest.raises(UserError, match=r"only one emotion is left \(neutral\)"):
        build(small(demo_data, **emotions), Console(quiet=True))

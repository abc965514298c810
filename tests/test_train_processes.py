"""Runs in processes of their own: killed and resumed, ended by a signal, on two ranks that freeze and augment."""

import shutil
import signal
from pathlib import Path

import pytest
import yaml
from processes import copy_ready_store, finished, has_checkpoint, runs, start, start_interpreter, until
from small_run import small


def write_small(folder: Path, cache: Path, store: bool = True, **overrides: str) -> str:
    """The small experiment as a YAML file in the folder, which gets an empty store unless `store` is false; returns its name."""
    if store and not (folder / "mlruns").exists():
        copy_ready_store(folder)
    tree = small(cache, **overrides).model_dump(mode="json")
    del tree["name"]
    (folder / "small.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return "small.yaml"


def figures_of(folder: Path) -> dict[str, float]:
    (run,) = runs(folder)
    timed = ("seconds", "clips_per_second", "system/")
    return {k: v for k, v in run.data.metrics.items() if not k.startswith(timed)}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"fit.ema": "0.9"}], ids=["plain", "ema"])
def test_a_run_killed_in_its_second_epoch_goes_on_to_the_figures_of_an_unbroken_one(
    tmp_path: Path, demo_data: Path, options: dict[str, str]
) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    for folder in (unbroken, broken):
        folder.mkdir()
        name = write_small(folder, demo_data, **{"fit.stages.large.epochs": "4", "model.width": "32", **options})
    finished(start(unbroken, "train", name))
    first = start(broken, "train", name)
    until(lambda: has_checkpoint(broken), first)
    first.kill()  # epoch 1 is on disk, epoch 2 is under way
    assert first.wait() == -signal.SIGKILL
    (run,) = runs(broken)
    assert run.info.status == "RUNNING"  # nobody could say otherwise
    finished(start(broken, "train", name, "--resume", run.info.run_id[:10]))
    (run,) = runs(broken)
    assert run.info.status == "FINISHED"
    assert figures_of(broken) == figures_of(unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_terminated_run_is_killed_and_says_how_to_go_on(
    tmp_path: Path, demo_data: Path, signum: signal.Signals
) -> None:
    name = write_small(tmp_path, demo_data, **{"fit.stages.large.epochs": "500"})
    process = start_interpreter(tmp_path, "train", name)
    until(lambda: has_checkpoint(tmp_path), process)
    process.send_signal(signum)
    said = finished(process, 128 + signum)
    (run,) = runs(tmp_path)
    assert run.info.status == "KILLED"
    assert f"RESUME={run.info.run_id[:8]}" in said and "Traceback" not in said


@pytest.mark.slow
def test_a_run_whose_output_nobody_reads_any_more_is_killed_and_can_be_resumed(
    tmp_path: Path, demo_data: Path
) -> None:
    name = write_small(tmp_path, demo_data, **{"fit.stages.large.epochs": "500"})
    process = start_interpreter(tmp_path, "train", name)
    until(lambda: has_checkpoint(tmp_path), process)
    assert process.stdout
    process.stdout.close()
    assert process.wait(120) == 128 + signal.SIGPIPE
    (run,) = runs(tmp_path)
    assert run.info.status == "KILLED" and "failure" not in run.data.tags


@pytest.mark.slow
def test_mlflow_db_alone_holds_a_run_whose_process_has_ended(tmp_path: Path, demo_data: Path) -> None:
    finished(start(tmp_path, "train", write_small(tmp_path, demo_data)))
    copy = tmp_path / "copy" / "mlruns"
    copy.mkdir(parents=True)
    shutil.copy(tmp_path / "mlruns" / "mlflow.db", copy)
    assert [run.info.status for run in runs(copy.parent)] == ["FINISHED"]


@pytest.mark.slow
def test_two_ranks_freeze_and_augment(tmp_path: Path, demo_data: Path) -> None:
    stage = {
        "fit.stages.small": "{size: 16, frozen_epochs: 1, epochs: 1}",
        "fit.devices": "2",
        "fit.accelerator": "cpu",
    }
    finished(start_interpreter(tmp_path, "train", write_small(tmp_path, demo_data, **stage)))
    assert [run.info.status for run in runs(tmp_path)] == ["FINISHED"]

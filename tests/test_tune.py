"""A search of settings on a small DEMO corpus: what it finds and logs, and how it continues."""

import csv
import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import processes
import pytest
import yaml
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from rich.console import Console
from searches import children, parents, prepare, quiet, study_of, values

from emotion_lightning.config import loader as settings
from emotion_lightning.config.command import make_options
from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model
from emotion_lightning.tracking import store
from emotion_lightning.train import work_folder
from emotion_lightning.training.build import build_data
from emotion_lightning.tuning import storage
from emotion_lightning.tuning.request import make_request
from emotion_lightning.tuning.search import search
from emotion_lightning.tuning.space import draw
from emotion_lightning.tuning.winner import Winner

TRIALS = 8


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    place = tmp_path_factory.mktemp("tune")
    prepare(place, demo_data)
    return place


@pytest.fixture(scope="module")
def finished(workplace: Path) -> tuple[Winner, str]:
    """A finished search, and all that it printed."""
    before, said = Path.cwd(), io.StringIO()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(workplace)
    found = search(make_request("s", [], TRIALS), Console(file=said, width=200))
    os.chdir(before)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return found, said.getvalue()


@pytest.fixture
def there(finished: tuple[Winner, str], workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Winner:
    """The finished search, with its folder as the working directory."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    monkeypatch.chdir(workplace)
    store.connect()
    return finished[0]


def test_the_better_of_two_choices_wins(there: Winner) -> None:
    complete = [t for t in study_of("s").trials if t.state == TrialState.COMPLETE]
    poor, good = ([t.value for t in complete if t.params["model.C"] == c] for c in (1e-6, 1.0))
    assert min(good) > max(poor) and max(poor) <= 0.2  # near 1/8, the UAR of one answer for all clips
    assert there.values["model.C"] == 1.0 and there.uar == max(good)


def test_the_first_trial_is_the_experiment_as_it_is_where_the_ranges_contain_it(search_folder: Path) -> None:
    quiet("s", 1, "model.gamma=0.05")
    assert values(study_of("s", "model.gamma=0.05")) == [{"model.C": 1e-6, "model.gamma": 0.05}]


def test_the_file_holds_the_chosen_settings_and_nothing_else(there: Winner) -> None:
    written = settings.load("s_tuned")
    assert yaml.safe_load(there.file.read_text()) == {
        "base": "s",
        "model": {"C": there.values["model.C"], "gamma": there.values["model.gamma"]},
    }
    changes = [f"{path}={value}" for path, value in there.values.items()]
    assert written.signature() == settings.load("s", changes).signature() != settings.load("s").signature()
    head = there.file.read_text().partition("\nbase:")[0]
    for part in (
        "make tune EXP=s TRIALS=8\n",
        "make train EXP=s_tuned\n",
        "inner folds of whole speakers",
        "optimistic",
        "only fold 0 is a test of it",
    ):
        assert part in head
    assert f"UAR {there.uar:.3f} ± {there.spread:.3f}" in head


def test_a_line_for_each_trial_and_one_for_the_file(
    search_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from emotion_lightning.cli import main

    monkeypatch.setattr(sys, "argv", ["emotion-lightning", "tune", "s", "protocol.fold=1", "--trials", "2"])
    monkeypatch.setattr(main.shutdown, "fast_exit", sys.exit)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-3:-1]] == ["trial 0", "trial 1"]
    assert lines[-1].startswith("experiments/s_tuned.yaml: UAR 0.")
    assert lines[-1].endswith("make train EXP=s_tuned SET=protocol.fold=1")


def test_the_options_of_a_command_are_those_of_make() -> None:
    overrides = ['corpora=["emodb", "savee"]', "protocol=random", "seed=1", "fit.ema=0.9", 'data.dir="my corpora"']
    assert make_options(overrides) == " PROTOCOL=random CORPORA='emodb savee' SET='seed=1 fit.ema=0.9'"
    assert make_options(overrides, with_folders=True).endswith(" DATA='my corpora'")


def test_each_trial_is_a_run_below_the_run_of_the_search(there: Winner) -> None:
    [parent] = parents()
    runs = children(parent)
    assert parent.info.status == "FINISHED" and parent.info.run_name == "tune s"
    assert [run.info.status for run in runs] == ["FINISHED"] * TRIALS
    assert [run.data.params["model.C"] for run in runs] == [str(v["model.C"]) for v in values(study_of("s"))]
    assert {run.data.tags["audit"] for run in [parent, *runs]} == {"ok: no test clip was read in the search"}
    best = runs[there.trial]
    assert best.data.metrics["tune/uar"] == parent.data.metrics["tune/uar"] == pytest.approx(there.uar)
    folds = [best.data.metrics[f"tune/uar_inner{fold}"] for fold in range(3)]
    assert np.mean(folds) == pytest.approx(there.uar) and np.std(folds, ddof=1) == pytest.approx(there.spread)
    assert best.data.metrics["inner2/uar/val"] == folds[2]
    # a study takes runs by this tag, and would resume a trial
    assert not any("signature" in run.data.tags for run in [parent, *runs])
    assert not any(name.startswith("test/") for run in runs for name in run.data.metrics)
    assert "optimistic" in parent.data.tags["mlflow.note.content"]
    assert parent.data.params["search/model.gamma"] == "0.01 … 0.1, log"


def test_the_run_of_the_search_has_the_table_the_plots_and_the_file(there: Winner) -> None:
    client, run_id = MlflowClient(), parents()[0].info.run_id
    assert {file.path for file in client.list_artifacts(run_id)} == {
        *("trials.csv", "history.png", "importance.png", "s_tuned.yaml")
    }
    with Path(client.download_artifacts(run_id, "trials.csv")).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["trial"]) for row in rows] == list(range(TRIALS))
    assert max(float(row["uar"]) for row in rows if row["uar"]) == pytest.approx(there.uar, abs=1e-6)


def test_no_model_file_is_kept(there: Winner) -> None:
    for run in children(parents()[0]):
        assert not MlflowClient().list_artifacts(run.info.run_id)
    assert not list(Path("mlruns").rglob("*.skops")) and not list(Path("mlruns").rglob("*.ckpt"))


def test_a_run_of_a_search_predicts_nothing_and_says_so(there: Winner) -> None:
    [parent] = parents()
    for run in (parent, children(parent)[0]):
        with pytest.raises(
            UserError, match="is of a search, which keeps no model; make train EXP=s_tuned trains one"
        ):
            open_model(run.info.run_id)


def test_a_trial_worse_than_the_median_is_pruned(there: Winner) -> None:
    trials = study_of("s").trials
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert pruned
    for trial in trials[storage.STARTUP_TRIALS :]:
        earlier = [t.intermediate_values for t in trials[: trial.number] if t.state == TrialState.COMPLETE]
        so_far = np.maximum.accumulate(
            [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        )
        worse = [value < np.median([t[step] for t in earlier]) for step, value in enumerate(so_far, 1) if step < 3]
        assert worse == ([False] * (len(worse) - 1) + [True] if trial in pruned else [False, False])
    runs = children(parents()[0])
    assert {t.number for t in pruned} == {
        number for number, run in enumerate(runs) if run.data.tags["trial/state"] == "pruned"
    }
    assert not any("tune/uar" in runs[t.number].data.metrics for t in pruned)


def test_the_same_command_again_runs_no_trial_and_a_larger_one_the_rest(
    finished: tuple[Winner, str], search_folder: Path
) -> None:
    first = quiet("s", 2)
    text = first.file.read_text()
    assert quiet("s", 2) == first and first.file.read_text() == text and len(children(parents()[0])) == 2
    assert quiet("s", TRIALS).values == finished[0].values  # as the search that ran in one go
    assert len(parents()) == 1 and len(children(parents()[0])) == TRIALS


def test_equal_seeds_give_equal_trials_also_after_a_kill(there: Winner, search_folder: Path, workplace: Path) -> None:
    quiet("s", 3)
    killed = storage.ask(study_of("s"), make_request("s", [], 1))  # a process that is killed leaves its trial so
    left = draw(killed, make_request("s", [], 1).ranges)
    ended, opened = (its_run(killed.number) for _ in range(2))
    client = MlflowClient()
    client.set_terminated(ended)  # the process was killed before it told the search so
    client.set_terminated(opened, "KILLED")  # killed as soon as its run was open, and swept
    (files := work_folder(opened)).mkdir(parents=True)
    quiet("s", TRIALS)
    for run in (ended, opened):
        assert client.get_run(run).info.status == "KILLED"
        assert client.get_run(run).data.tags["trial/state"] == "killed"
    assert not files.exists()
    study = study_of("s")
    assert [t.state for t in study.trials].count(TrialState.FAIL) == 1
    assert not any(t.state in (TrialState.RUNNING, TrialState.WAITING) for t in study.trials)
    assert values(study)[3] == left and len(values(study)) == TRIALS
    assert len({trial["model.gamma"] for trial in values(study)}) == TRIALS
    os.chdir(workplace)
    assert values(study_of("s")) == values(study)


def its_run(trial: int) -> str:
    """A run of a trial, as it is while the trial is trained."""
    [parent] = parents()
    tags = {"mlflow.parentRunId": parent.info.run_id, "trial/number": str(trial), "trial/state": "running"}
    return str(MlflowClient().create_run(parent.info.experiment_id, tags=tags).info.run_id)


@pytest.mark.parametrize("drawn", [0, 1])
def test_a_kill_in_the_first_trial_does_not_lose_the_settings_of_the_experiment(
    search_folder: Path, drawn: int
) -> None:
    request = make_request("s", ["model.gamma=0.05"], 2)
    store.connect()
    killed = storage.ask(study_of("s", "model.gamma=0.05"), request)
    draw(killed, dict(list(request.ranges.items())[:drawn]))  # killed amid them
    quiet("s", 2, "model.gamma=0.05")
    study = study_of("s", "model.gamma=0.05")
    assert values(study)[0] == {"model.C": 1e-6, "model.gamma": 0.05} and len(values(study)) == 2
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


def test_a_search_that_was_killed_before_its_run_had_its_settings_logs_them(search_folder: Path) -> None:
    request, client = make_request("s", [], 1), store.connect()
    name = storage.study_name(request, build_data(request.experiment, Console(quiet=True)))
    client.create_run("0", tags={"kind": "tuning", "tuning": name})
    quiet("s", 1)
    [parent] = parents()
    assert parent.data.params["search/model.gamma"] == "0.01 … 0.1, log" and parent.data.params["inner_folds"] == "3"


def test_the_experiment_file_is_replaced_in_one_step(search_folder: Path) -> None:
    file = quiet("s", 1).file
    os.link(file, search_folder / "as_it_was")
    before = file.read_text()
    quiet("s", 2)
    assert file.read_text() != before == (search_folder / "as_it_was").read_text()


def test_other_settings_are_another_search(search_folder: Path) -> None:
    names = set()
    for overrides, folds in (
        ([], 3),
        (["model.pool=mean_std"], 3),
        ([], 2),
        (["protocol.fold=1"], 3),
        (["seed=1"], 3),
    ):
        request = make_request("s", overrides, 1, folds)
        names.add(storage.study_name(request, build_data(request.experiment, Console(quiet=True))))
    text = Path("experiments/s.yaml").read_text()
    Path("experiments/s.yaml").write_text(text.replace("high: 0.1", "high: 0.2"))
    request = make_request("s", [], 1)
    names.add(storage.study_name(request, build_data(request.experiment, Console(quiet=True))))
    assert len(names) == 6


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_search_continues(search_folder: Path, finished: tuple[Winner, str], sent: signal.Signals) -> None:
    process = processes.start(search_folder, "tune", "s", "--trials", str(TRIALS))
    processes.until(
        lambda: sum(1 for run in processes.runs(search_folder) if run.info.status == "FINISHED") >= 1, process
    )
    process.send_signal(sent)
    said = processes.finished(process, 143 if sent == signal.SIGTERM else -9)
    if sent == signal.SIGTERM:
        assert "tuning of s was stopped; the same command continues it" in said
        assert parents()[0].info.status == "KILLED"
    said = processes.finished(processes.start(search_folder, "tune", "s", "--trials", str(TRIALS)))
    study = study_of("s")
    assert len(values(study)) == TRIALS and not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    assert settings.load("s_tuned").flat()["model.gamma"] == str(finished[0].values["model.gamma"])
    [parent] = parents()
    assert parent.info.status == "FINISHED"
    ends = [(run.info.status, run.data.tags["trial/state"]) for run in children(parent)]
    assert len([end for end in ends if end[0] == "FINISHED"]) == TRIALS
    assert {end for end in ends if end[0] != "FINISHED"} <= {("KILLED", "killed")}
    assert not list((search_folder / "mlruns" / "checkpoints").iterdir())

"""A search of settings on a small DEMO corpus: what it finds and logs, what it never reads, and how it continues."""

import csv
import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import optuna
import processes
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from rich.console import Console

from emotion_lightning.config import loader as settings
from emotion_lightning.config.command import make_options
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model
from emotion_lightning.protocols import make_split
from emotion_lightning.tracking import store
from emotion_lightning.train import work_folder
from emotion_lightning.training.build import build_data
from emotion_lightning.tuning import storage
from emotion_lightning.tuning.inner import inner_splits
from emotion_lightning.tuning.request import make_request
from emotion_lightning.tuning.search import search
from emotion_lightning.tuning.space import draw
from emotion_lightning.tuning.trial import run_trial
from emotion_lightning.tuning.winner import Winner

SVM = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 3},
    "features": {"name": "mfcc", "frames": 64},
    "model": {"name": "svm", "C": 1e-6},  # one emotion for all clips: UAR 1/8
    "fit": {"refit": True, "log_model": False},
    "search": {"model.C": [1e-6, 1.0], "model.gamma": {"low": 0.01, "high": 0.1, "log": True}},
}
NETWORK = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 3},
    "features": {"name": "picture", "height": 32, "width": 32},
    "augment": {"mixup": {}},
    "model": {"name": "small_cnn", "width": 8},
    "data": {"batch_size": 16},
    "fit": {"stages": {"main": {"epochs": 3}}, "gap_clips": 32, "precision": "32"},
    "search": {"fit.stages.main.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "augment.mixup": [True, False]},
}
TRIALS = 8


def prepare(folder: Path, cache: Path) -> None:
    """Gives a working folder an empty store and the experiments `s` (an SVM) and `n` (a network)."""
    processes.copy_ready_store(folder)
    (folder / "experiments").mkdir()
    for name, tree in (("s", SVM), ("n", NETWORK)):
        tree = {**tree, "data": {**tree.get("data", {}), "cache": str(cache)}}
        (folder / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.fixture(autouse=True)
def store_of_the_folder() -> None:
    """Each test writes to mlruns/ of its own folder: a run in this process sets MLFLOW_TRACKING_URI and leaves it so."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def folder(in_tmp_path: Path, demo_data: Path) -> Path:
    prepare(in_tmp_path, demo_data)
    return in_tmp_path


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
    monkeypatch.chdir(workplace)
    store.connect()
    return finished[0]


def quiet(name: str, trials: int, *overrides: str, folds: int = 3) -> Winner:
    return search(make_request(name, overrides, trials, folds), Console(quiet=True))


def study_of(name: str, *overrides: str) -> optuna.Study:
    request = make_request(name, overrides, 1)
    data = build_data(request.experiment, Console(quiet=True))
    return storage.open_study(storage.study_name(request, data), request)


def values(study: optuna.Study) -> list[dict[str, object]]:
    """The settings of the trials that count, in order."""
    return [trial.user_attrs["values"] for trial in storage.finished(study)]


def children(parent: Run) -> list[Run]:
    found = store.runs(store.connect(), f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    return sorted(found, key=lambda run: int(run.data.tags["trial/number"]))


def parents() -> list[Run]:
    return list(store.runs(store.connect(), "tags.kind = 'tuning'"))


# What is found


def test_the_better_of_two_choices_wins(there: Winner) -> None:
    complete = [t for t in study_of("s").trials if t.state == TrialState.COMPLETE]
    poor, good = ([t.value for t in complete if t.params["model.C"] == c] for c in (1e-6, 1.0))
    assert min(good) > max(poor) and max(poor) <= 0.2  # near 1/8, the UAR of one answer for all clips
    assert there.values["model.C"] == 1.0 and there.uar == max(good)


def test_the_first_trial_is_the_experiment_as_it_is_where_the_ranges_contain_it(folder: Path) -> None:
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
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
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


# MLflow


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


# Pruning


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


def test_a_network_is_pruned_between_epochs_and_the_next_one_can_be_trained(folder: Path) -> None:
    experiment = make_request("n", [], 1).experiment
    steps: list[tuple[float, int]] = []

    def report(value: float, step: int) -> bool:
        steps.append((value, step))
        return step == 4  # the first epoch of the second fold

    terminal = Console(file=io.StringIO(), force_terminal=True)  # with a bar, which has to end as well
    trial = run_trial(experiment, 2, {}, report, terminal)
    assert trial.pruned and len(trial.uars) == 1 and [step for _, step in steps] == [1, 2, 3, 4]
    client = MlflowClient()
    uars = {
        fold: [m.value for m in client.get_metric_history(trial.run_id, f"inner{fold}/uar/val")] for fold in (0, 1)
    }
    assert [value for value, _ in steps] == pytest.approx(
        [*np.maximum.accumulate(uars[0]), (max(uars[0]) + uars[1][0]) / 2]
    )
    assert client.get_run(trial.run_id).info.status == "FINISHED"
    again = run_trial(experiment, 2, {}, lambda value, step: step == 6, terminal)
    assert not again.pruned and again.uars[0] == trial.uars[0]  # the last epoch has nothing to save


def test_a_network_is_scored_by_its_chosen_epoch(folder: Path) -> None:
    trial = run_trial(
        make_request("n", ["fit.keep=last"], 1).experiment,
        2,
        {},
        lambda *_: False,
        Console(quiet=True),
    )
    last = [MlflowClient().get_metric_history(trial.run_id, f"inner{fold}/uar/val")[-1] for fold in (0, 1)]
    assert trial.uars == pytest.approx([metric.value for metric in last]) and {m.step for m in last} == {3}


# The test side


@pytest.mark.parametrize(
    ("protocol", "group"),
    [
        ("{name: speaker_folds, folds: 3}", "speaker"),
        ("{name: text_independent}", "sentence"),
        ("{name: random}", "content"),
        ("{name: leaky_rows, i_know_this_leaks: true}", "content"),
    ],
)
def test_inner_folds_are_of_whole_groups_and_hold_no_test_clip(folder: Path, protocol: str, group: str) -> None:
    experiment = settings.load("s", [f"protocol={protocol}", "augment={copies: {}}"])
    data = build_data(experiment, Console(quiet=True))
    splits = inner_splits(data, 3)
    closed, clips = set(data.split.test.tolist()), data.clips
    source = [clip.id.removesuffix(f"#{clip.variant}") if clip.variant else clip.id for clip in clips]
    for split in splits:
        train, val = split.train.tolist(), split.val.tolist()
        assert train and val and not len(split.test) and not closed & {*train, *val}
        assert not {getattr(clips[i], group) for i in train} & {getattr(clips[i], group) for i in val}
        assert not {(clips[i].corpus, source[i]) for i in train} & {(clips[i].corpus, source[i]) for i in val}
        assert not any(clips[i].variant for i in val) and any(clips[i].variant for i in train)
    scored = sorted(i for split in splits for i in split.val.tolist())
    sides = np.concatenate([data.split.train, data.split.val]).tolist()
    assert scored == sorted(i for i in sides if not clips[i].variant)  # each clip once


def test_a_search_reads_no_test_clip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[EmotionData] = []

    class Noted(EmotionData):
        def setup(self, stage: str | None = None) -> None:
            super().setup(stage)
            opened.append(self)

    monkeypatch.setattr("emotion_lightning.training.build.EmotionData", Noted)
    quiet("n", 1, folds=2)
    assert len(opened) >= 2
    for data in opened:
        test = make_split(data.clips, "speaker_folds", {"folds": 3}).test
        assert len(test) and data.access_log.count(None, test) == 0
    fitted = make_split(opened[-1].clips, "speaker_folds", {"folds": 3})
    assert opened[-1].access_log.count("fit", np.concatenate([fitted.train, fitted.val])) > 0


def test_a_search_that_reads_a_test_clip_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Peeking(EmotionData):
        closed: np.ndarray | None = None

        def gather(self, index, device):  # type: ignore[no-untyped-def]
            if self.closed is None:
                self.closed = self.split.test if len(self.split.test) else None
            self.access_log.record(make_split(self.clips, "speaker_folds", {"folds": 3}).test[:5])
            return super().gather(index, device)

    monkeypatch.setattr("emotion_lightning.training.build.EmotionData", Peeking)
    with pytest.raises(UserError, match="audit: 5 test clips were read in the search"):
        quiet("s", 2)
    [parent] = parents()
    [child] = children(parent)
    assert parent.info.status == child.info.status == "FAILED"
    assert child.data.tags["audit"] == "BROKEN: 5 test clips were read in the search"
    assert [t.state for t in study_of("s").trials] == [TrialState.FAIL]
    assert not Path("experiments/s_tuned.yaml").exists()


# Continuing


def test_the_same_command_again_runs_no_trial_and_a_larger_one_the_rest(
    finished: tuple[Winner, str], folder: Path
) -> None:
    first = quiet("s", 2)
    text = first.file.read_text()
    assert quiet("s", 2) == first and first.file.read_text() == text and len(children(parents()[0])) == 2
    assert quiet("s", TRIALS).values == finished[0].values  # as the search that ran in one go
    assert len(parents()) == 1 and len(children(parents()[0])) == TRIALS


def test_equal_seeds_give_equal_trials_also_after_a_kill(there: Winner, folder: Path, workplace: Path) -> None:
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
def test_a_kill_in_the_first_trial_does_not_lose_the_settings_of_the_experiment(folder: Path, drawn: int) -> None:
    request = make_request("s", ["model.gamma=0.05"], 2)
    store.connect()
    killed = storage.ask(study_of("s", "model.gamma=0.05"), request)
    draw(killed, dict(list(request.ranges.items())[:drawn]))  # killed amid them
    quiet("s", 2, "model.gamma=0.05")
    study = study_of("s", "model.gamma=0.05")
    assert values(study)[0] == {"model.C": 1e-6, "model.gamma": 0.05} and len(values(study)) == 2
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


def test_a_search_that_was_killed_before_its_run_had_its_settings_logs_them(folder: Path) -> None:
    request, client = make_request("s", [], 1), store.connect()
    name = storage.study_name(request, build_data(request.experiment, Console(quiet=True)))
    client.create_run("0", tags={"kind": "tuning", "tuning": name})
    quiet("s", 1)
    [parent] = parents()
    assert parent.data.params["search/model.gamma"] == "0.01 … 0.1, log" and parent.data.params["inner_folds"] == "3"


def test_the_experiment_file_is_replaced_in_one_step(folder: Path) -> None:
    file = quiet("s", 1).file
    os.link(file, folder / "as_it_was")
    before = file.read_text()
    quiet("s", 2)
    assert file.read_text() != before == (folder / "as_it_was").read_text()


def test_other_settings_are_another_search(folder: Path) -> None:
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
def test_a_killed_search_continues(folder: Path, finished: tuple[Winner, str], sent: signal.Signals) -> None:
    process = processes.start(folder, "tune", "s", "--trials", str(TRIALS))
    processes.until(lambda: sum(1 for run in processes.runs(folder) if run.info.status == "FINISHED") >= 2, process)
    process.send_signal(sent)
    said = processes.finished(process, 143 if sent == signal.SIGTERM else -9)
    if sent == signal.SIGTERM:
        assert "tuning of s was stopped; the same command continues it" in said
        assert parents()[0].info.status == "KILLED"
    said = processes.finished(processes.start(folder, "tune", "s", "--trials", str(TRIALS)))
    study = study_of("s")
    assert len(values(study)) == TRIALS and not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    assert settings.load("s_tuned").flat()["model.gamma"] == str(finished[0].values["model.gamma"])
    [parent] = parents()
    assert parent.info.status == "FINISHED"
    ends = [(run.info.status, run.data.tags["trial/state"]) for run in children(parent)]
    assert len([end for end in ends if end[0] == "FINISHED"]) == TRIALS
    assert {end for end in ends if end[0] != "FINISHED"} <= {("KILLED", "killed")}
    assert not list((folder / "mlruns" / "checkpoints").iterdir())

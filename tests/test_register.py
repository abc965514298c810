"""The model registry: versions, and the champion that only a better model replaces."""

from dataclasses import replace
from io import StringIO

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from emotion_lightning.cli.register import is_better, register
from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model
from emotion_lightning.report.summary import Pair
from emotion_lightning.training.evaluation import RunResult
from emotion_lightning.training.significance import McNemar


def say(run: RunResult, name: str) -> str:
    console = Console(width=300, file=StringIO())
    register(run.run_id, name, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_champion_changes_only_for_a_better_model(runs: dict[str, RunResult]) -> None:
    first = say(runs["small_cnn"], "voices")
    assert "voices version 1" in first and "is the champion now: there is no other yet" in first
    second = say(runs["svm"], "voices")
    champion = MlflowClient().get_model_version_by_alias("voices", "champion")
    pair_says = "is the champion now" in second
    assert (champion.run_id == runs["svm"].run_id) == pair_says and "McNemar p = " in second
    assert open_model(model="voices").about.run == champion.run_id
    assert open_model(model="voices/1").about.run == runs["small_cnn"].run_id
    assert open_model(model="voices@champion").about.run == champion.run_id
    with pytest.raises(UserError, match="'voices' has no version '3'; it has"):
        open_model(model="voices/3")
    with pytest.raises(UserError, match="is a version of 'voices' already"):
        say(runs["svm"], "voices")


def test_a_run_without_a_model_is_refused(runs: dict[str, RunResult]) -> None:
    client = MlflowClient()
    run = client.create_run(client.get_run(runs["svm"].run_id).info.experiment_id)
    client.set_terminated(run.info.run_id)
    with pytest.raises(UserError, match="has no model"):
        register(run.info.run_id, "others", Console(quiet=True))


def test_better_needs_more_right_clips_a_small_p_and_an_interval_above_zero() -> None:
    pair = Pair("a", "b", "speaker_folds", 1, (0.05, 0.01, 0.09), McNemar(30, 10, 0.002), 0.002, None)
    assert is_better(pair)
    assert is_better(replace(pair, uar=None))
    assert not is_better(replace(pair, uar=(0.05, -0.01, 0.11)))
    assert not is_better(replace(pair, mcnemar=McNemar(30, 20, 0.2)))
    assert not is_better(replace(pair, mcnemar=McNemar(10, 30, 0.002)))


def test_a_name_that_model_could_not_name_is_refused(runs: dict[str, RunResult]) -> None:
    for name in ("a/b", "a@b", "", "..", "new\nline", "x" * 101):
        with pytest.raises(UserError, match=r"NAME: '(.|\n)*' is not a name of letters"):
            register(runs["svm"].run_id, name, Console(quiet=True))

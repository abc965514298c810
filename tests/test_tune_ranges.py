"""The ranges of a search: how they are drawn and inherited, and the messages for wrong ones."""

import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import yaml
from filelock import FileLock

from emotion_lightning.config import loader as settings
from emotion_lightning.tuning.request import make_request
from emotion_lightning.tuning.space import draw

RANGE = {"low": 1, "high": 2}
WRONG: dict[str, tuple[object, str]] = {
    "no search": ({}, "bad: the file names no settings to search; add for example search: {model.C: {low: 0.1"),
    "unknown path": ({"model.CC": RANGE}, "search: model.CC: no such setting of bad; did you mean 'model.C'?"),
    "no path at all": ({"xyzzy": RANGE}, "search: xyzzy: no such setting of bad"),
    "mapping": ({"model": ["svm", "lda"]}, "search: model: no such setting of bad"),
    "value": ({"model.C": {"low": -1, "high": 2}}, "search: model.C: it should be greater than 0, not -1"),
    "choice": ({"model.pool": ["mean", "sum"]}, "search: model.pool: it should be 'mean' or 'mean_std', not \"sum\""),
    "scored": ({"protocol.fold": [0, 1]}, "search: protocol.fold: this cannot be searched"),
    "seed": ({"seed": {"low": 0, "high": 9}}, "search: seed: this cannot be searched"),
    "off": ({"augment.copies": [True, False]}, "search: augment.copies: it is off in the experiment"),
    "order": ({"model.C": {"low": 2, "high": 1}}, "search.model.C: low is 2 and high is 1; low should be less than high"),
    "log": ({"model.C": {"low": 0, "high": 1, "log": True}}, "search.model.C: low is 0; with log it should be more than 0"),
    "log and step": ({"model.C": {**RANGE, "log": True, "step": 1}}, "search.model.C: log and step cannot be used together"),
    "step": ({"model.C": {"low": 1, "high": 4, "step": 2}}, "search.model.C: step is 2; high - low, 3, should be a multiple"),
    "misspelt": ({"model.C": {"low": 1, "hihg": 2}}, "search.model.C.hihg: no such setting; did you mean 'high'?"),
    "word": ({"model.C": {"low": "a", "high": 2}}, 'search.model.C.low: it should be a number, not "a"'),
    "one choice": ({"model.C": [1.0]}, "search.model.C: it should be a list of at least two different values, not [1.0]"),
    "number": ({"model.C": 3}, "search.model.C: it should be {low: …, high: …} or a list of choices, not 3"),
    "one end": ({"model.C": {"low": 1}}, "search.model.C: low and high are needed, or a list of choices"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_search_is_one_line_before_anything_runs(
    search_folder: Path, refusal: Callable[..., str], case: str
) -> None:
    searched, line = WRONG[case]
    tree = {"base": "s", "search": {"model.C": False, "model.gamma": False, **searched}}  # type: ignore[dict-item]
    Path("experiments/bad.yaml").write_text(yaml.safe_dump(tree))
    said = refusal(search_folder, "tune", "bad", "--trials", "2")
    assert line in said and said.count("\n") == 1 and said.startswith("error: ")
    assert not Path("mlruns/tuning.db").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--trials", "0"), "TRIALS=0: at least one trial is needed"),
        (("--inner", "1"), "INNER=1: at least two inner folds are needed"),
        (("--inner", "50"), "INNER=50: 50 inner folds need as many speakers"),
        (("fit.devices=2",), "fit.devices: a search trains on one device"),
    ],
)
def test_a_wrong_number_is_one_line(
    search_folder: Path, refusal: Callable[..., str], words: tuple[str, ...], line: str
) -> None:
    said = refusal(search_folder, "tune", "s", *words)
    assert line in said and "Traceback" not in said and not Path("mlruns/tuning.db").exists()


def test_a_file_that_the_search_has_not_written_is_kept(search_folder: Path, refusal: Callable[..., str]) -> None:
    Path("experiments/s_tuned.yaml").write_text("base: s\n")
    said = refusal(search_folder, "tune", "s", "--trials", "1")
    assert "experiments/s_tuned.yaml: this file was not written by `make tune`" in said and said.count("\n") == 1
    assert Path("experiments/s_tuned.yaml").read_text() == "base: s\n" and not Path("mlruns/tuning.db").exists()


def test_a_second_search_at_the_same_time_is_refused(search_folder: Path, refusal: Callable[..., str]) -> None:
    Path("mlruns/tuning").mkdir()
    with FileLock("mlruns/tuning/s.lock"):
        assert "a search of s is already running in this folder" in refusal(
            search_folder, "tune", "s", "--trials", "1"
        )


def test_without_optuna_the_command_says_how_to_install_it(
    search_folder: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "pip install 'emotion-lightning[tune]'" in refusal(search_folder, "tune", "s")


# Settings


def test_ranges_change_no_signature_no_param_and_no_checkpoint(search_folder: Path) -> None:
    searched = settings.load("s")
    tree = yaml.safe_load(Path("experiments/s.yaml").read_text())
    del tree["search"]
    Path("plain.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    plain = settings.load("plain.yaml")
    assert searched.search and not plain.search
    assert (searched.signature(), searched.flat()) == (plain.signature(), plain.flat())
    assert searched.model_dump(mode="json", exclude={"name"}) == plain.model_dump(mode="json", exclude={"name"})


def test_ranges_are_inherited_changed_and_removed(search_folder: Path) -> None:
    Path("experiments/child.yaml").write_text(
        "base: s\nsearch: {model.C: off, model.gamma: {high: 1.0}, data.batch_size: {low: 8, high: 64, step: 8}}\n"
    )
    searched = settings.load("child").search
    assert {path: str(candidates) for path, candidates in searched.items()} == {
        "model.gamma": "0.01 … 1, log",
        "data.batch_size": "8 … 64, step 8",
    }


def test_values_are_drawn_from_their_ranges(search_folder: Path) -> None:
    Path("experiments/many.yaml").write_text(
        "base: n\nsearch: {model.width: {low: 4, high: 12, step: 4}, fit.ema: [null, 0.9], "
        "fit.label_smoothing: {low: 0.0, high: 0.3, step: 0.1}}\n"
    )
    request, study = make_request("many", [], 1), optuna.create_study()
    drawn = [draw(study.ask(), request.ranges) for _ in range(60)]
    assert {d["model.width"] for d in drawn} == {4, 8, 12}
    assert {d["fit.ema"] for d in drawn} == {None, 0.9}
    assert {d["fit.label_smoothing"] for d in drawn} == {0.0, 0.1, 0.2, 0.3}
    assert all(1e-4 <= d["fit.stages.main.lr"] <= 1e-2 for d in drawn)
    experiments = [request.with_values(d) for d in drawn]
    assert {"mixup" in e.augment for e in experiments} == {True, False}
    assert all(e.fit.ema == d["fit.ema"] for e, d in zip(experiments, drawn, strict=True))


@pytest.mark.parametrize("name", settings.names())
def test_the_ranges_of_shipped_experiments_are_valid(name: str) -> None:
    if settings.load(name).search:
        assert make_request(name, [], 1).ranges


def test_ranges_of_a_replaced_model_are_not_inherited(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "corpora: {demo: }\nprotocol: speaker_folds\nfeatures: mfcc\nmodel: {name: small_cnn}\n"
        "search: {model.width: [8, 16], fit.stages.main.lr: {low: 1e-4, high: 1e-2}}\n"
    )
    (tmp_path / "mine.yaml").write_text("base: base\nmodel: {name: lstm}\nsearch: {model.hidden: [8, 16]}\n")
    assert list(settings.load(str(tmp_path / "mine.yaml")).search) == ["fit.stages.main.lr", "model.hidden"]
    same = settings.load(str(tmp_path / "base.yaml"), ["model.dropout=0.2"])
    assert list(same.search) == ["model.width", "fit.stages.main.lr"]

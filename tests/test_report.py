"""A study's report from a store whose runs hold predictions that are known: every figure can be computed by hand."""

import csv
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_study import MISSING, SEX, SKILL, drawn, made_up, write_run
from processes import copy_ready_store
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from emotion_lightning.errors import UserError
from emotion_lightning.report import formats, page, tables
from emotion_lightning.report.collect import Results
from emotion_lightning.report.comparison import paired
from emotion_lightning.report.ensembles import collect, ensembles
from emotion_lightning.report.groups import group_table
from emotion_lightning.report.summary import compare, pairs, rows
from emotion_lightning.studies import state
from emotion_lightning.studies.plan import Plan, PlannedArm
from emotion_lightning.tracking import store


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory):
    """A working folder whose MLflow store holds the made-up study; lstm lacks fold 1 of seed 1."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("store")
    copy_ready_store(folder)
    os.chdir(folder)
    client, plan = store.connect(), made_up()
    place = client.create_experiment("DEMO", artifact_location=(folder / "artifacts").as_uri())
    for cell in plan.cells:
        if cell.arm != "resnet_transfer" and (cell.arm, cell.fold, cell.seed) != ("lstm", 1, 1):
            write_run(client, place, cell, folder)
    parent = client.create_run(place, tags={"kind": "study", "study": plan.name})
    state.write_plan(client, parent.info.run_id, plan)
    client.set_terminated(parent.info.run_id)
    yield folder
    os.chdir(before)


def test_means_and_deviations_are_over_runs_and_scikit_learns(filled: Path) -> None:
    found = {row.group.arm.name: row for row in rows(collect("made_up"))}
    seen = [drawn("svm", fold, seed)[:2] for fold in (0, 1, 2) for seed in (0, 1)]
    for metric, function in (
        ("accuracy", accuracy_score),
        ("uar", balanced_accuracy_score),
        ("f1", lambda y, p: f1_score(y, p, average="macro")),
    ):
        values = [function(labels, probabilities.argmax(1)) for labels, probabilities in seen]
        figure = found["svm"].figures[metric]
        assert (figure.mean, figure.std) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
        assert figure.interval and figure.interval[0] < figure.mean < figure.interval[1]
    assert len(found["lstm"].group.finished) == 5 and found["lstm"].group.planned == 6


def test_groups_are_scored_over_their_own_clips_of_all_runs(filled: Path) -> None:
    header, lines = group_table(rows(collect("made_up")))
    assert header == ["arm", "protocol", "sex: female", "sex: male"]  # one corpus, and no intensity is known
    assert [line[0] for line in lines] == ["SVM", "BiLSTM"]
    cells = lines[0]
    runs_of_arm = [drawn("svm", fold, seed) for fold in (0, 1, 2) for seed in (0, 1)]
    for number, sex in enumerate(SEX):
        mine = [(labels[number::2], probabilities[number::2].argmax(1)) for labels, probabilities, *_ in runs_of_arm]
        expected = balanced_accuracy_score(*(np.concatenate(values) for values in zip(*mine, strict=True)))
        assert cells[2 + number].startswith(f"{100 * expected:.1f} ["), (sex, cells)


def test_what_is_missing_says_why(filled: Path) -> None:
    results = collect("made_up")
    _, lines = tables.gap_table(results)
    assert lines == [
        ["BiLSTM", "speaker_folds", "1", "fold 1 seed 1", "not run yet"],
        ["+ ImageNet", "speaker_folds", "6", "fold 0 seed 0, fold 0 seed 1, fold 1 seed 0 …", MISSING],
    ]
    main = tables.main_table(rows(results))[1]
    assert [line[2] for line in main] == ["6", "5 of 6", "0 of 6"]
    assert main[2][3:7] == [f"missing: {MISSING}", "missing", "missing", "missing"]
    assert all(cell for line in main for cell in line)


def test_published_figures_are_listed_with_what_differs(filled: Path) -> None:
    lines = rows(collect("made_up"))
    assert [tables.published(row) for row in lines] == [
        "acc. 51.7, F1 50.9*",
        "acc. 52.8, F1 49.7*",
        "acc. 57.3, F1 52.8*",
    ]
    notes = tables.claim_notes(lines)
    assert any("DeepEmoNet" in n and "validation split" in n and "speakers overlap" in n for n in notes)


def test_published_figures_of_other_models_on_the_same_corpora_are_listed(filled: Path) -> None:
    found = tables.others_table(collect("made_up"))[1]
    assert {line[0] for line in found} == {"resnet_scratch", "resnet_aug"}  # DeepEmoNet's arms that are none here
    assert ["accuracy", "66.7", "overlapping", "validation"] in [line[2:6] for line in found]


def test_pairs_are_tested_on_the_runs_that_both_have_each_clip_once(filled: Path) -> None:
    (pair,) = pairs(collect("made_up"))
    assert (pair.a, pair.b, pair.runs) == ("BiLSTM", "SVM", 5)
    only = np.zeros(2, int)
    for fold in (0, 1, 2):  # the first seed of each clip
        right = [drawn(arm, fold, 0)[1].argmax(1) == np.arange(60) % 3 for arm in ("lstm", "svm")]
        only += [(right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()]
    assert (pair.mcnemar.only_a, pair.mcnemar.only_b) == tuple(only)
    assert pair.uar and pair.uar[1] < pair.uar[0] < pair.uar[2]
    truth = np.arange(60) % 3
    uar = {
        (arm, fold, seed): balanced_accuracy_score(truth, drawn(arm, fold, seed)[1].argmax(1))
        for arm in SKILL
        for fold in (0, 1, 2)
        for seed in (0, 1)
    }
    by_fold = [[uar["lstm", f, s] - uar["svm", f, s] for s in (0, 1) if (f, s) != (1, 1)] for f in (0, 1, 2)]
    means = [np.mean(of_seeds) for of_seeds in by_fold]  # the seeds of a fold tested the same clips here
    assert pair.folds and pair.folds.folds == 3
    assert (pair.folds.mean, pair.folds.std) == pytest.approx((np.mean(means), np.std(means, ddof=1)))


def test_arms_and_single_runs_are_compared(filled: Path) -> None:
    (by_arm,) = paired("lstm", "svm")
    (whole,) = pairs(collect("made_up"))
    assert by_arm == whole
    ids = {}
    for run in store.runs(store.connect(), "tags.signature LIKE '%-0-0'"):
        ids[run.data.tags["experiment"]] = run.info.run_id
    (single,) = paired(ids["lstm"][:12], ids["svm"])
    assert single.runs == 1 and single.folds is None
    assert single.mcnemar.only_a + single.mcnemar.only_b > 0


@pytest.mark.parametrize(
    ("a", "b", "study", "message"),
    [
        (
            "lstn",
            "svm",
            None,
            "'lstn' is not the id of a run, and no study that was run has an arm of that name; did you mean 'lstm'",
        ),
        ("lstm", "svn", "made_up", "study made_up has no arm 'svn'; did you mean 'svm'"),
        ("lstm", "svm", "made_op", "no study 'made_op' has been run at .*did you mean 'made_up'"),
        ("resnet_transfer", "svm", None, "have no finished runs that tested the same clips"),
        ("ffffffff", "eeeeeeee", None, "no runs start with 'ffffffff'"),
        ("ffffffff", "svm", None, "no study has both arms, ffffffff and svm"),
    ],
)
def test_what_cannot_be_compared_is_reported(filled: Path, a: str, b: str, study: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        paired(a, b, study)


def test_runs_on_different_clips_are_not_compared(filled: Path) -> None:
    ids = {
        run.data.tags["signature"]: run.info.run_id for run in store.runs(store.connect(), "tags.experiment = 'svm'")
    }
    with pytest.raises(UserError, match="no finished runs that tested the same clips"):
        paired(ids["svm-0-0"], ids["svm-1-0"])


class Sources(HTMLParser):
    """Whatever a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_is_whole_and_the_page_needs_no_other_file(filled: Path) -> None:
    page.write("made_up", filled / "out")
    made = {file.name for file in (filled / "out").iterdir()}
    assert made == {
        "index.html",
        "report.md",
        "table.csv",
        "table.tex",
        "overview.png",
        "loss_gaps.png",
        "confusions.png",
    }
    text = (filled / "out" / "index.html").read_text(encoding="utf-8")
    sources = Sources()
    sources.feed(text)
    assert len(sources.found) == 3 and all(s.startswith("data:image/svg+xml;base64,") for s in sources.found)
    assert "url(" not in text and "@import" not in text
    for said in ("DEMO", "no test speaker of any run was trained on", MISSING, "BiLSTM"):
        assert said in text
    with (filled / "out" / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9 and lines[8]["missing"] == MISSING and lines[8]["mean"] == ""
    assert lines[0]["published"] == "0.5170" and "validation split" in lines[0]["published_differs"]


def test_a_report_replaces_each_file_in_one_step(filled: Path) -> None:
    for stem in ("before", "again"):
        page.write("made_up", filled / stem)
    (filled / "linked").mkdir()
    for file in (filled / "before").iterdir():  # what a reader has open while the report is written again
        os.link(file, filled / "linked" / file.name)
        file.write_text("the reader's")
    page.write("made_up", filled / "before")
    for file in (filled / "linked").iterdir():
        assert file.read_text() == "the reader's"
        assert (filled / "before" / file.name).read_bytes() == (filled / "again" / file.name).read_bytes()


def test_the_same_means_are_logged_once(filled: Path, tmp_path: Path) -> None:
    client = store.connect()
    run_id = client.create_run("0").info.run_id
    for value in (0.5, 0.5, 0.6):
        state.log_report(client, run_id, tmp_path, {"svm/random/uar": value}, "note")
    assert [m.value for m in client.get_metric_history(run_id, "svm/random/uar")] == [0.5, 0.6]
    client.delete_run(run_id)


def test_markdown_and_latex_hold_every_cell_and_escape_what_they_must(filled: Path) -> None:
    table = tables.main_table(rows(collect("made_up")))
    lines = formats.markdown(table).splitlines()
    assert len(lines) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}  # the bar in the reason is escaped
    tex = formats.latex(table)
    assert tex.count(r"\\") == 4 and tex.count("&") == 4 * 7
    assert r"speaker\_folds" in tex and r"$\pm$" in tex and not re.search(r"(?<!\\)[_%#]", tex)


def test_a_report_of_a_study_without_any_run_says_so(filled: Path) -> None:
    client = store.connect()
    plan = made_up().model_copy(update={"name": "empty", "cells": made_up().cells[12:]})
    place = client.get_experiment_by_name("DEMO").experiment_id
    parent = client.create_run(place, tags={"kind": "study", "study": "empty"})
    state.write_plan(client, parent.info.run_id, plan)
    client.set_terminated(parent.info.run_id)
    page.write("empty", filled / "empty")
    assert "0 of 6 runs have finished" in (filled / "empty" / "report.md").read_text()


def with_ensembles(plan: Plan, **mean_of: tuple[str, ...]) -> Results:
    """The made-up study with more arms; their numbers need no run of their own."""
    arms = [
        PlannedArm(name=n, label=n, about="", experiment="", corpora=("ravdess",), mean_of=m)
        for n, m in mean_of.items()
    ]
    found = collect("made_up")
    grown = plan.model_copy(update={"arms": (*plan.arms, *arms)})
    return replace(found, plan=grown, ensembles=ensembles(grown, found.groups))


def test_an_ensemble_is_the_mean_probability_of_its_runs_on_the_same_clips(filled: Path) -> None:
    results = with_ensembles(made_up(), seeds=("svm",))
    found = {row.group.arm.name: row for row in rows(results)}["seeds"]
    expected = []
    for fold in (0, 1, 2):
        labels = drawn("svm", fold, 0)[0]
        mean = (drawn("svm", fold, 0)[1] + drawn("svm", fold, 1)[1]) / 2
        order = np.argsort(drawn("svm", fold, 0)[2])
        np.testing.assert_allclose(found.group.finished[fold].predictions.probabilities, mean[order])
        expected.append(balanced_accuracy_score(labels, mean.argmax(1)))
    assert found.figures["uar"].mean == pytest.approx(np.mean(expected))
    assert not any(found.group.finished[0].curves.values())
    page_rows = tables.speed_table(rows(results))[1]
    assert "seeds" not in [line[0] for line in page_rows]  # it took no time of its own


def test_an_ensemble_lacks_the_folds_in_which_a_member_has_no_run(filled: Path) -> None:
    (group,) = with_ensembles(made_up(), both=("svm", "lstm")).ensembles.values()
    assert [f.cell.fold for f in group.finished] == [0, 2]  # lstm has no fold 1 of seed 1
    assert [(cell.fold, cell.seed) for cell, _ in group.missing] == [(1, 1)]
    mean = np.mean([np.mean([drawn(arm, 0, seed)[1] for seed in (0, 1)], axis=0) for arm in ("svm", "lstm")], axis=0)
    order = np.argsort(drawn("svm", 0, 0)[2])
    np.testing.assert_allclose(group.finished[0].predictions.probabilities, mean[order])
    assert with_ensembles(made_up(), none=("resnet_transfer",)).ensembles["none", "speaker_folds"].finished == []


def test_an_ensemble_is_compared_with_every_seed_of_an_arm(filled: Path) -> None:
    results = with_ensembles(made_up(), seeds=("lstm",))
    ensemble, svm = results.group("seeds", "speaker_folds"), results.group("svm", "speaker_folds")
    assert ensemble and svm
    pair = compare(ensemble, svm)
    assert pair and pair.runs == 2 * len(ensemble.finished) == 4
    assert pair.uar and pair.uar[0] > 0


def test_each_arm_of_an_ensemble_counts_equally(filled: Path) -> None:
    """Whatever the number of its seeds: fold 1 has two seeds of the SVM and one of the LSTM."""
    results = collect("made_up")
    complete = {key: replace(group, missing=[]) for key, group in results.groups.items()}
    arm = PlannedArm(
        name="both", label="both", about="", experiment="", corpora=("ravdess",), mean_of=("svm", "lstm")
    )
    (group,) = ensembles(results.plan.model_copy(update={"arms": (arm,)}), complete).values()
    one = next(f for f in group.finished if f.cell.fold == 1)
    svm = (drawn("svm", 1, 0)[1] + drawn("svm", 1, 1)[1]) / 2
    order = np.argsort(drawn("svm", 1, 0)[2])
    np.testing.assert_allclose(one.predictions.probabilities, ((svm + drawn("lstm", 1, 0)[1]) / 2)[order])


def test_an_ensemble_needs_every_member_on_the_same_clips(filled: Path) -> None:
    """Two seeds of one arm alone are no ensemble of both, where the other one was not to be run."""
    results = collect("made_up")
    svm, lstm = (replace(results.groups[name, "speaker_folds"], missing=[]) for name in ("svm", "lstm"))
    lstm = replace(lstm, finished=[f for f in lstm.finished if f.cell.fold == 0])
    arm = PlannedArm(
        name="both", label="both", about="", experiment="", corpora=("ravdess",), mean_of=("svm", "lstm")
    )
    groups = {("svm", "speaker_folds"): svm, ("lstm", "speaker_folds"): lstm}
    (group,) = ensembles(results.plan.model_copy(update={"arms": (arm,)}), groups).values()
    assert [f.cell.fold for f in group.finished] == [0]

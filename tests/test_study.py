"""A study's YAML: its cells, and the messages for its errors."""

import re
from pathlib import Path

import pytest

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.errors import UserError
from emotion_lightning.studies import made, study
from emotion_lightning.studies.plan import make_plan

BASE = """
about: two arms
arms:
  demo_svm:
  small: {experiment: demo_small_cnn, set: {model.width: 8, augment.noise: {}}, label: Small}
protocols:
  paper_random: {seeds: 2}
  speaker_folds: {folds: 3, seeds: [0, 4]}
"""


def loaded(folder: Path, text: str = BASE) -> study.Study:
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return study.load(str(file))


def test_cells_are_arms_times_protocols_times_folds_times_seeds(tmp_path: Path) -> None:
    cells = study.cells(loaded(tmp_path))
    names = {(c.arm, c.protocol, c.fold, c.seed) for c in cells}
    random = {(arm, "paper_random", None, seed) for arm in ("demo_svm", "small") for seed in (0, 1)}
    folds = {(a, "speaker_folds", f, s) for a in ("demo_svm", "small") for f in (0, 1, 2) for s in (0, 4)}
    assert names == random | folds
    assert len(cells) == len(names) == len({c.experiment.signature() for c in cells}) == 16


def test_a_seed_is_that_of_training_and_of_the_split(tmp_path: Path) -> None:
    for cell in study.cells(loaded(tmp_path)):
        assert cell.experiment.seed == cell.seed == cell.experiment.protocol.args["split_seed"]
        if cell.protocol == "speaker_folds":
            assert (cell.experiment.protocol.args["folds"], cell.experiment.protocol.args["fold"]) == (3, cell.fold)


def test_an_arm_is_its_experiment_with_its_own_settings(tmp_path: Path) -> None:
    cells = {c.arm: c for c in study.cells(loaded(tmp_path), ["data.batch_size=7"])}
    assert cells["small"].experiment.model.args["width"] == 8
    assert list(cells["small"].experiment.augment) == ["noise"]
    assert {c.experiment.data.batch_size for c in cells.values()} == {7}
    alone = settings.load("demo_svm", ["protocol=paper_random", "data.batch_size=7"])
    (first,) = (
        c
        for c in study.cells(loaded(tmp_path), ["data.batch_size=7"])
        if str(c) == "demo_svm · paper_random · seed 0"
    )
    assert first.experiment.signature() == alone.signature()  # so a run that was trained singly counts


def test_something_of_every_arm_comes_first(tmp_path: Path) -> None:
    seeds = [cell.seed for cell in study.cells(loaded(tmp_path))]
    assert seeds == sorted(seeds)
    assert {c.arm for c in study.cells(loaded(tmp_path))[:2]} == {"demo_svm", "small"}


def test_an_arm_may_have_fewer_runs(tmp_path: Path) -> None:
    text = BASE.replace("label: Small", "protocols: {speaker_folds: {folds: [1]}}")
    few = [c for c in study.cells(loaded(tmp_path, text)) if c.arm == "small"]
    assert [(c.protocol, c.fold, c.seed) for c in few] == [
        ("paper_random", None, 0),
        ("speaker_folds", 1, 0),
        ("paper_random", None, 1),
    ]
    assert few[1].experiment.protocol.args["folds"] == 3  # of the study's three


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: 2", "seed: 2", "mine.yaml: protocols.paper_random.seed: no such setting; did you mean 'seeds'?"),
        (
            "seeds: 2",
            "seeds: 0",
            "mine.yaml: protocols.paper_random.seeds: it should be a count from 1, or a list of different numbers from 0, not 0",
        ),
        ("seeds: 2", "folds: 2", "study mine: protocols.paper_random.folds: the protocol has no folds"),
        (
            "demo_svm:",
            "demo_svn:",
            "study mine, arm demo_svn: no experiment named 'demo_svn'; did you mean 'demo_svm'?",
        ),
        (
            "model.width: 8",
            "model.widht: 8",
            "study mine, arm small: model.widht: no such setting; did you mean 'width'?",
        ),
        ("paper_random:", "paper_randon:", "no protocol named 'paper_randon'; did you mean 'paper_random'?"),
        ("label: Small", "protocols: {random: {}}", "arms.small.protocols.random: the study has no such protocol"),
        ("about:", "abuot:", "mine.yaml: abuot: no such setting; did you mean 'about'?"),
        ("model.width: 8", "fit.devices: 2", "small: fit.devices: each run of a study uses one device"),
        ("seeds: [0, 4]", "seeds: [4, 4]", "a list of different numbers from 0"),
        ("folds: 3", "folds: [0, 7]", "protocols.speaker_folds.folds: 7 is not one of 0…4"),
        ("small:", "small+:", "mine.yaml: 'small+': the name of a study or an arm has"),
        ("model.width: 8", "seed: 3", "mine.yaml: arms.small.set: seed belongs to the study"),
        ("model.width: 8", "protocol.folds: 4", "mine.yaml: arms.small.set: protocol.folds belongs to the study"),
        (
            "label: Small",
            "against: demo_smv",
            "mine.yaml: arms.small.against: no arm 'demo_smv'; did you mean 'demo_svm'?",
        ),
        (
            "experiment: demo_small_cnn, set: {model.width: 8, augment.noise: {}}",
            "experiment: demo_svm",
            "have the same settings",
        ),
    ],
)
def test_a_fault_is_reported_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert BASE.count(old) == 1
    with pytest.raises(UserError) as caught:
        study.cells(loaded(tmp_path, BASE.replace(old, new)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=3", "SET: seed belongs to the study"),
        ("protocol=speaker_folds", "SET: protocol belongs to the study"),
        ("small:protocol.fold=1", "SET: protocol.fold belongs to the study"),
        ("smal:data.batch_size=3", "the study has no arm 'smal'; did you mean 'small'?"),
        (
            "model.width=4",
            'arm demo_svm: SET: model.width: no such setting; .*SET="demo_svm:key.path=value" sets it',
        ),
    ],
)
def test_an_override_that_would_mislabel_the_cells_or_fits_no_arm_is_refused(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        study.cells(loaded(tmp_path), [override])


def test_an_override_may_be_of_one_arm(tmp_path: Path) -> None:
    found = study.cells(loaded(tmp_path), ["small:model.width=4", "data.batch_size=3"])
    assert {c.experiment.model.args.get("width") for c in found if c.arm == "small"} == {4}
    assert {c.experiment.data.batch_size for c in found} == {3}


def test_a_study_whose_name_no_folder_should_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "it's.yaml").write_text(BASE)
    with pytest.raises(UserError, match="the name of a study or an arm has only letters, digits"):
        study.load(str(tmp_path / "it's.yaml"))


def test_a_misspelt_study_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="no study named 'ablaton'; did you mean 'ablation'"):
        study.load("ablaton")


@pytest.mark.parametrize("name", study.names())
def test_every_shipped_study_spells_out_cells_of_their_own(name: str) -> None:
    cells = study.cells(study.load(name))
    assert len({c.experiment.signature() for c in cells}) == len(cells) > 0


def test_the_ablation_is_the_papers_table_under_both_protocols() -> None:
    chosen = study.load("ablation")
    assert {"svm", "lstm", "resnet_scratch", "resnet_transfer", "resnet_aug"} <= set(chosen.arms)
    assert list(chosen.protocols) == ["paper_random", "speaker_folds"]


def test_an_honesty_table_has_no_more_folds_than_a_corpus_has_speakers() -> None:
    both, savee = made.honesty("svm"), made.honesty("svm", ["corpora.ravdess=off"])
    assert both.protocols["speaker_folds"].folds == 5 and savee.protocols["speaker_folds"].folds == 4
    assert savee.protocols["random"].folds == 5
    assert {c.experiment.protocol.args["folds"] for c in study.cells(savee) if c.protocol == "speaker_folds"} == {4}


def test_a_report_of_other_settings_has_a_name_of_its_own() -> None:
    plain = made.honesty("svm")
    named = [
        plain.name,
        made.honesty("svm", ["model.C=10"]).name,
        made.honesty("svm", ["model.C=100"]).name,
        made.honesty("svm", [], folds=1).name,
        made.honesty("svm", ["corpora.savee=off"]).name,
        made.honesty("svm", ["corpora.savee=off", "corpora.ravdess=on", 'data.dir="/elsewhere"']).name,
        made.honesty("svm", [f"model.C={n}" for n in range(1, 19)]).name,
    ]
    assert named[:6] == [
        "honesty_svm_ravdess-savee",
        "honesty_svm_ravdess-savee_model.C-10",
        "honesty_svm_ravdess-savee_model.C-100",
        "honesty_svm_ravdess-savee_folds-1",
        "honesty_svm_ravdess",
        "honesty_svm_ravdess",  # where the clips are does not change the study
    ]
    assert len(named[6]) < 120
    assert made.honesty("svm", ["model.C=10"], folds=1).command == 'make honesty EXP=svm SET="model.C=10" FOLDS=1'


def test_all_folds_are_those_of_the_experiments_protocol_with_its_seeds() -> None:
    overrides = ["protocol=speaker_folds", "protocol.folds=4", "protocol.split_seed=7", "seed=3", "model.C=10"]
    chosen = made.all_folds("svm", overrides)
    cells = study.cells(chosen, made.of_arms(overrides))
    expected = {
        settings.load("svm", [*overrides, f"protocol.fold={fold}"]).signature() for fold in range(4)
    }  # the same runs as those of make train
    assert {cell.experiment.signature() for cell in cells} == expected
    assert (
        chosen.name
        == "folds_speaker_folds_svm_ravdess-savee_protocol.folds-4_protocol.split_seed-7_seed-3_model.C-10"
    )


def test_all_folds_of_protocols_that_count_them_by_the_clips(demo_data: Path) -> None:
    folder = [f"data.cache={demo_data}", "corpora.demo={speakers: 4, takes: 1}"]
    one_out = made.all_folds("demo_svm", ["protocol=one_speaker_out", *folder])
    assert one_out.protocols["one_speaker_out"].folds == 8
    count_folds = parts.fact("protocols", "published_folds", "count_folds", None)
    assert count_folds([], published="ravdess_luna_jimenez") == 5
    with pytest.raises(UserError, match="FOLDS=all: protocol paper_random has no folds"):
        made.all_folds("svm", ["protocol=paper_random"])
    with pytest.raises(UserError, match=r"protocol\.speaker: demo-01 alone is tested"):
        made.all_folds("demo_svm", ["protocol=one_speaker_out", "protocol.speaker=demo-01", *folder])


def test_an_ensemble_has_no_cells_of_its_own(tmp_path: Path) -> None:
    with_mean = BASE.replace("protocols:", "  both: {mean_of: [demo_svm, small]}\nprotocols:", 1)
    plain, cells = study.cells(loaded(tmp_path)), study.cells(loaded(tmp_path, with_mean))
    assert [str(cell) for cell in cells] == [str(cell) for cell in plain]
    arm = make_plan(loaded(tmp_path, with_mean), cells, [], {}).arms[-1]
    assert (arm.mean_of, arm.corpora, arm.experiment) == (("demo_svm", "small"), ("demo",), "")


def test_an_arm_can_be_run_under_some_of_the_protocols(tmp_path: Path) -> None:
    text = BASE.replace("label: Small}", "label: Small, only: [speaker_folds]}")
    names = {(cell.arm, cell.protocol) for cell in study.cells(loaded(tmp_path, text))}
    assert names == {
        ("demo_svm", "paper_random"),
        ("demo_svm", "speaker_folds"),
        ("small", "speaker_folds"),
    }


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("{mean_of: [smal]}", "arms.both.mean_of: no arm 'smal'; did you mean 'small'"),
        ("{mean_of: [small], set: {model.width: 8}}", "arms.both.mean_of: an ensemble has no runs of its own"),
        ("{mean_of: [both]}", "arms.both.mean_of: both is an ensemble itself"),
        ("{experiment: demo_svm, only: [speaker_fold]}", "arms.both.only: the study has no protocol 'speaker_fold'"),
    ],
)
def test_a_wrong_ensemble_is_one_line(tmp_path: Path, arm: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        loaded(tmp_path, BASE.replace("protocols:", f"  both: {arm}\nprotocols:", 1))

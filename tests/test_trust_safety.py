"""Short forms of `make trust ONLY=safety`; what it found is tested in the file of each part."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from trust import safety
from trust.rows import Setting
from trust.safety import archives, make_variables, network, stores
from trust.safety.payloads import pickles, yaml_files
from trust.safety.scene import Scene


def test_no_value_of_makes_variables_is_run_by_a_shell(tmp_path: Path) -> None:
    tried = list(islice(make_variables.through_make(tmp_path), 40))
    assert [one for one in tried if one[1]] == []


def test_the_judge_of_make_sees_a_command_that_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_variables, "REPOSITORY", tmp_path / "careless")
    (tmp_path / "careless").mkdir()
    (tmp_path / "careless" / "Makefile").write_text("train:\n\t@true $(EXP)\n")
    assert next(make_variables.through_make(tmp_path / "work"))[1] == "a command was run"


def test_no_archive_leaves_its_folder_and_no_changed_download_is_unpacked(tmp_path: Path) -> None:
    for case in range(40):
        assert archives.unpacked(np.random.default_rng(case), tmp_path / "archives") == ""
        assert archives.damaged_download(np.random.default_rng(case), tmp_path / "downloads") == ""


@pytest.mark.slow
def test_no_folder_that_is_imported_sends_or_deletes_other_files(tmp_path: Path) -> None:
    assert [one for one in stores.imports(tmp_path / "imports") if one[1]] == []


@pytest.mark.slow
def test_models_and_yaml_of_others_are_refused_and_nothing_reaches_the_network(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene" / "scene")
    for place in (*islice(pickles(scene), 2), *islice(yaml_files(scene), 4, 6)):
        assert scene.outcome(place) == ""
    assert network.control(scene) == ""
    watched = network.Watched(scene)
    assert (
        watched.outcome(("train", "demo_svm", "corpora.demo={speakers: 4, takes: 1}", "protocol.folds=3", "seed=1"))
        == ""
    )
    assert watched.served(("serve", "--run", scene.runs["demo_svm"]), "/ping") == ""


def test_the_parts_are_counted(tmp_path: Path) -> None:
    row = safety._drawn("archives", archives.unpacked, Setting(tmp_path, 0.001), 1000)
    assert (row.times, row.faults) == (20, ())

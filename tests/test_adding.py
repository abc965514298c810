"""docs/adding.md, followed to the letter in a temporary folder outside the package."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

REPOSITORY = Path(__file__).parent.parent
BLOCK = re.compile(r"```(?:python|yaml)\n# (my_parts/\S+)\n(.*?)```", re.DOTALL)


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    """The page's files, and a few recordings of six people under the names that its corpus expects."""
    blocks = BLOCK.findall((REPOSITORY / "docs" / "adding.md").read_text(encoding="utf-8"))
    assert [Path(name).parent.name for name, _ in blocks] == ["corpora", "augment", "models", "experiments"]
    for name, text in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    noise = np.random.default_rng(0)
    (tmp_path / "my_recordings").mkdir()
    for speaker in ("anna", "ben", "cleo", "dan", "eva", "finn"):
        for emotion, level in (("angry", 0.3), ("sad", 0.05)):
            for number in range(4):
                samples = level * noise.standard_normal(16_000)
                soundfile.write(
                    tmp_path / "my_recordings" / f"{speaker}_{emotion}_{number}.wav", samples.clip(-1, 1), 16_000
                )
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    variables.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "emotion_lightning", "--parts", "my_parts", *words]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


def test_four_files_outside_the_package_are_a_project(followed: Path) -> None:
    done = run(followed, "train", "my_experiment", "data.dir=my_recordings")
    assert done.returncode == 0, done.stderr
    assert "2 emotions" in done.stdout and "my_experiment · speaker_folds" in done.stdout


def test_a_misspelt_argument_of_ones_own_part_is_refused(followed: Path) -> None:
    done = run(followed, "train", "my_experiment", "augment.my_gain.max_bd=3", "data.dir=my_recordings")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: SET: augment.my_gain.max_bd: no such setting; did you mean 'max_db'?"


def test_a_part_named_as_one_of_the_package_is_refused(followed: Path) -> None:
    (followed / "my_parts" / "models" / "small_cnn.py").write_text("")
    done = run(followed, "train", "my_experiment", "data.dir=my_recordings")
    assert done.returncode == 2
    assert "small_cnn.py: the package has a model of that name already; rename yours" in done.stderr

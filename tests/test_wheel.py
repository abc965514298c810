"""The wheel, installed apart from the clone: it brings its experiments, studies and claims, and trains in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the built package alone; its libraries are those of the tests."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools builds the wheel")
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True, timeout=300)
    return target


def run(installed: Path, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}
    command = [sys.executable, "-m", "emotion_lightning", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=600
    ).stdout


@pytest.mark.slow
def test_an_installed_wheel_lists_what_it_brings_and_trains_in_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    listed = run(installed, tmp_path, "experiments")
    shipped = [file.stem for file in (ROOT / "experiments").rglob("*.yaml")]
    assert len(shipped) > 40 and [name for name in shipped if f" {name} " not in listed] == []
    assert "whisper_base" in run(installed, tmp_path, "weights")
    assert "test" in run(installed, tmp_path, "train", "demo_svm")
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()

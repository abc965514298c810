"""Which engine a study gets, and the message if it is not available."""

import subprocess
import sys

import pytest

from emotion_lightning.errors import UserError
from emotion_lightning.studies.engine import Choice


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"jobs": 0}, "JOBS=0: at least one process is needed"),
        ({"gpus": 0.5}, "GPUS .* needs ENGINE=ray"),
        ({"name": "ray", "gpus": 2}, "GPUS=2: a run takes one GPU or a share of one"),
        ({"name": "ray", "gpus": 0}, "GPUS=0: a run takes"),
    ],
)
def test_what_nomake_engine_can_do_is_refused(choice: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        Choice(**choice)


def test_a_study_on_processes_loads_no_ray_and_one_on_ray_says_how_to_install_it() -> None:
    """In a Python that has no Ray."""
    program = """
import sys
sys.modules["ray"] = None
from emotion_lightning.studies.engine import Choice
from emotion_lightning.studies.runner import make_engine
make_engine(Choice(jobs=2)).close()
make_engine(Choice("ray"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "UserError: ENGINE=ray: Ray is not installed; pip install 'emotion-lightning[cluster]'" in done.stderr

"""Which ranks a run has, from the variables that torchrun and srun set; and the message if they contradict the settings."""

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import finished, start_interpreter

from emotion_lightning.config import ranks
from emotion_lightning.config.ranks import Ranks
from emotion_lightning.config.schema import Fit
from emotion_lightning.errors import UserError

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_WORLD_SIZE": "2",
    "RANK": "3",
    "LOCAL_RANK": "1",
}
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2"}
SRUN = {**BATCH_SCRIPT, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "2", "SLURM_LOCALID": "0"}


def ranks_with(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], devices: int = 1) -> Ranks:
    for name in {*TORCHRUN, *SRUN}:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return ranks.resolve_ranks(Fit(devices=devices))


@pytest.mark.parametrize(
    ("variables", "devices", "found"),
    [
        ({}, 1, Ranks("lightning", 1, 1, 0)),
        ({}, 2, Ranks("lightning", 1, 2, 0)),
        ({"LOCAL_RANK": "1"}, 2, Ranks("lightning", 1, 2, 1)),  # as Lightning starts it
        (TORCHRUN, 1, Ranks("torchrun", 2, 2, 3)),
        (TORCHRUN, 2, Ranks("torchrun", 2, 2, 3)),
        (SRUN, 1, Ranks("srun", 2, 2, 2)),
        ({**SRUN, **TORCHRUN}, 1, Ranks("torchrun", 2, 2, 3)),  # one torchrun a machine, each started by srun
        (BATCH_SCRIPT, 2, Ranks("lightning", 1, 2, 0)),
        ({**BATCH_SCRIPT, "SLURM_NTASKS": "1"}, 1, Ranks("lightning", 1, 1, 0)),
    ],
)
def test_ranks_are_what_the_starter_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], devices: int, found: Ranks
) -> None:
    assert ranks_with(monkeypatch, variables, devices) == found


@pytest.mark.parametrize(
    ("variables", "devices", "message"),
    [
        (TORCHRUN, 4, "fit.devices: 4, but torchrun started 2 on each machine"),
        (SRUN, 3, "fit.devices: 3, but srun started 2 on each machine"),
        ({**TORCHRUN, "WORLD_SIZE": "3"}, 1, "the same number of processes"),
        ({**SRUN, "SLURM_NTASKS": "3"}, 1, "srun started 3 tasks on 2 machines; give --ntasks-per-node"),
        ({**SRUN, "SLURM_NTASKS_PER_NODE": ""}, 1, "srun started 4 tasks on 2 machines; give --ntasks-per-node"),
        (BATCH_SCRIPT, 1, "put srun before the command"),
    ],
)
def test_a_contradiction_is_reported(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], devices: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        ranks_with(monkeypatch, variables, devices)


def test_errors_of_ranks_other_than_zero_say_whose_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks_with(monkeypatch, {**TORCHRUN, "RANK": "0"})
    assert ranks.with_rank("no corpus") == "no corpus"
    monkeypatch.setenv("RANK", "3")
    assert ranks.with_rank("no corpus").startswith("rank 3 on ")


def test_a_batch_that_ranks_cannot_share_is_reported_and_leaves_no_run(
    tmp_path: Path, demo_data: Path, refusal: Callable[..., str]
) -> None:
    corpus = ("corpora.demo.speakers=4", "corpora.demo.takes=1", f"data.cache={demo_data}")
    said = refusal(tmp_path, "train", "demo", "fit.devices=2", "fit.accelerator=cpu", "data.batch_size=63", *corpus)
    assert "data.batch_size: 63 cannot be shared evenly by 2 devices" in said
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("command", ["train", "study"])
def test_a_contradiction_is_one_line_and_leaves_nothing(
    tmp_path: Path, refusal: Callable[..., str], command: str
) -> None:
    said = refusal(tmp_path, command, "demo", **BATCH_SCRIPT)
    assert "put srun before the command" in said and len(said.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_study_on_several_ranks_is_refused(tmp_path: Path, refusal: Callable[..., str]) -> None:
    said = refusal(tmp_path, "study", "demo", **TORCHRUN)
    assert "each run of a study uses one device" in said


def test_a_refusal_by_a_process_of_its_own_has_status_2(tmp_path: Path) -> None:
    """The other refusals here are in this process."""
    said = finished(start_interpreter(tmp_path, "train", "demo", **BATCH_SCRIPT), 2)
    assert "put srun before the command" in said and len(said.strip().splitlines()) == 1

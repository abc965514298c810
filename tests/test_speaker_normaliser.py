"""Normalising by each speaker's own clips: exact, marked in every title and table, and refused where it cannot work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console

from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import Clip
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.speaker_normaliser import SpeakerNormaliser
from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model
from emotion_lightning.studies import made, study
from emotion_lightning.studies.plan import make_plan
from emotion_lightning.train import train
from emotion_lightning.training.build import build


def clip(name: str, speaker: str, variant: str = "") -> Clip:
    return Clip(id=name, path=Path(name), corpus="toy", emotion="happy", speaker=speaker, variant=variant)


def experiment(data: Path, **overrides: str) -> Experiment:
    args = {"corpora.demo": "{speakers: 4, takes: 1}", "protocol.folds": "3", "data.cache": str(data)}
    args |= {"data.normalise_speakers": "true", "features.name": "mfcc", **overrides}
    return settings.load("demo_svm", [f"{key}={value}" for key, value in args.items()])


def test_each_speaker_has_mean_zero_and_deviation_one_over_valid_frames() -> None:
    chance = torch.Generator().manual_seed(0)
    stored = torch.randn(6, 2, 3, 8, generator=chance) * 4 + 7
    valid = torch.tensor([1, 0.5, 0.25, 1, 0.75, 1])
    clips = [clip(str(i), speaker) for i, speaker in enumerate("abbaba")]
    normalise = SpeakerNormaliser(clips, lambda index: (stored[index], valid[index]))
    index = torch.tensor([4, 1, 2])  # those of speaker b, in another order
    frames = [normalise(stored[index], index)[i, ..., : int(8 * share)] for i, share in enumerate((0.75, 0.5, 0.25))]
    together = torch.cat(frames, 2)
    torch.testing.assert_close(together.mean(2), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(together.std(2, correction=0), torch.ones(2, 3), atol=1e-5, rtol=0)


def test_rows_of_an_augmentation_do_not_count_and_constant_values_stay_finite() -> None:
    stored = torch.tensor([1.0, 3.0, 100.0])[:, None, None, None] * torch.tensor([1.0, 0.0])[:, None]
    clips = [clip("0", "a"), clip("1", "a"), clip("1#noise", "a", "noise")]
    normalise = SpeakerNormaliser(clips, lambda index: (stored[index], torch.ones(len(index))))
    found = normalise(stored, torch.arange(3))[:, 0, :, 0]
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.0], [1.0, 0.0], [98.0, 0.0]]))


def test_clips_without_a_speaker_are_refused() -> None:
    with pytest.raises(UserError, match=r"data.normalise_speakers: the speaker of 2 clips is unknown"):
        SpeakerNormaliser([clip("0", "a"), clip("1", ""), clip("2", "")], lambda index: (index, index))


def test_every_batch_is_normalised_and_the_reads_are_counted(demo_data: Path) -> None:
    data, plain = (EmotionData(experiment(demo_data, **{"data.normalise_speakers": on})) for on in ("true", "false"))
    for one in (data, plain):
        one.setup()
    speaker = data.clips[0].speaker
    index = torch.tensor([i for i, c in enumerate(data.clips) if c.speaker == speaker])
    batch, raw = (one.gather(index, torch.device("cpu")) for one in (data, plain))
    masks = [np.arange(raw.stored.shape[3]) < round(float(v) * raw.stored.shape[3]) for v in raw.valid]
    own = np.concatenate([x[0][:, m] for x, m in zip(raw.stored.numpy(), masks, strict=True)], 1)
    expected = (raw.stored[0, 0].numpy() - own.mean(1, keepdims=True)) / own.std(1, keepdims=True)
    np.testing.assert_allclose(batch.stored[0, 0].numpy(), expected, atol=1e-3)
    assert data.count_reads("speaker normaliser", "test") == len(data.split.test)
    assert plain.count_reads("speaker normaliser", "test") == 0


def test_a_run_is_marked_and_its_model_predicts_no_single_file(in_tmp_path: Path, demo_data: Path) -> None:
    result = train(experiment(demo_data), Console(quiet=True))
    assert result
    run = MlflowClient().get_run(result.run_id)
    assert "USES TEST SPEAKERS" in run.data.tags["mlflow.runName"]
    assert run.data.tags["USES TEST SPEAKERS"] == "True"
    assert int(run.data.tags["audit/speaker_normaliser_saw_test"]) > 0
    assert run.data.tags["audit/fit_saw_test"] == "0"
    with pytest.raises(UserError, match=r"was normalised by all clips of each speaker .* cannot hear single files"):
        open_model(result.run_id)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"features.name": "picture", "model.name": "small_cnn"},
            "data.normalise_speakers: picture is a picture, of which only channels are normalised",
        ),
        (
            {"augment.time_shift": "{}", "model.name": "small_cnn"},
            "data.normalise_speakers: an augmentation of waveforms computes the features anew",
        ),
    ],
)
def test_where_it_cannot_work_it_is_refused(demo_data: Path, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(experiment(demo_data, **overrides), Console(quiet=True))


def signature(**overrides: Any) -> str:
    return settings.load("svm", [f"{key}={value}" for key, value in overrides.items()]).signature()


def test_runs_without_it_keep_their_signature() -> None:
    assert signature() == signature(**{"data.normalise_speakers": "false"})
    assert signature() != signature(**{"data.normalise_speakers": "true"})


def test_the_honesty_table_has_it_as_a_marked_arm_on_unseen_speakers() -> None:
    honesty = made.honesty("svm")
    cells = study.cells(honesty)
    assert {c.protocol for c in cells if c.arm == "svm_by_speaker"} == {"speaker_folds"}
    labels = [arm.label for arm in make_plan(honesty, cells, [], {}).arms]
    assert labels == ["svm", "svm, normalised by speaker (USES TEST SPEAKERS)"]
    assert list(made.honesty("resnet_mini_aug").arms) == ["resnet_mini_aug"]  # pictures

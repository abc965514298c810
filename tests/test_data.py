"""EmotionData: splits, labels, batches and loaders, against files, librosa and numpy."""

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import DEMO, NEEDED
from noise_corpora import CPU, TWO, emotion_of, experiment, librosa_mel, make_ravdess, ready

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import EMOTIONS, open_corpus
from emotion_lightning.data import audio, cache
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS


def test_the_demo_corpus_is_split_as_its_protocol_says(demo_data: Path) -> None:
    data = ready(experiment(demo_data, demo_data, corpora={"demo": DEMO}))
    assert len(data.clips) == 128
    splits = [set(data.split.indices(split_name).tolist()) for split_name in SPLITS]
    assert all(splits)
    assert set.union(*splits) == set(range(128))
    assert sum(map(len, splits)) == 128
    speakers = [{data.clips[i].speaker for i in split_name} for split_name in splits]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 8


def test_the_five_folds_test_every_clip_once(demo_data: Path) -> None:
    tested = Counter[str]()
    for fold in range(5):
        protocol = {"name": "speaker_folds", "fold": fold}
        data = ready(experiment(demo_data, demo_data, corpora={"demo": DEMO}, protocol=protocol))
        tested.update(data.clips[i].id for i in data.split.test)
    assert len(tested) == 128
    assert set(tested.values()) == {1}


def test_the_protocols_own_settings_reach_it(corpora: Path) -> None:
    protocol = {"name": "paper_random", "val_share": 0.25, "test_share": 0.5}
    data = ready(experiment(corpora, protocol=protocol))
    assert [len(data.split.indices(split_name)) for split_name in SPLITS] == [12, 12, 24]
    protocol = {"name": "paper_random", "val_share": 0.25, "test_share": 0.5, "split_seed": 1}
    assert ready(experiment(corpora, protocol=protocol)).split.test.tolist() != data.split.test.tolist()


def test_a_duplicate_recording_is_in_one_split(tmp_path: Path) -> None:
    make_ravdess(tmp_path, actors=3)
    twins = [tmp_path / "ravdess" / "Actor_01" / f"03-01-05-01-01-0{take}-01.wav" for take in (1, 2)]
    shutil.copy(*twins)
    for seed in range(8):
        protocol = {"name": "paper_random", "val_share": 0.3, "test_share": 0.3, "split_seed": seed}
        data = ready(experiment(tmp_path, protocol=protocol))
        rows = {i for i, clip in enumerate(data.clips) if clip.path in twins}
        assert len(rows) == 2
        assert sum(rows <= set(data.split.indices(split_name).tolist()) for split_name in SPLITS) == 1


def test_labels_are_the_files_own_in_the_vocabularys_order(corpora: Path) -> None:
    data = ready(experiment(corpora, **TWO))
    assert data.classes == EMOTIONS[:8]
    assert [data.classes[label] for label in data.labels] == [emotion_of(clip.path) for clip in data.clips]


def test_an_emotion_that_no_clip_has_is_no_class(corpora: Path) -> None:
    protocol = {"name": "speaker_folds", "folds": 3}
    data = ready(experiment(corpora, corpora={"savee": {}}, protocol=protocol))
    assert data.classes == ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    assert [data.classes[label] for label in data.labels] == [emotion_of(clip.path) for clip in data.clips]


def test_a_batch_holds_its_clips_features_from_whichever_corpus(corpora: Path) -> None:
    """Against each corpus's own cache, row by row."""
    data = ready(experiment(corpora, **TWO))
    rows, where = {}, experiment(corpora, **TWO)
    for name in ("ravdess", "savee"):
        corpus = open_corpus(name, {}, corpora, corpora / "cache")
        waves = cache.waves(corpus.clips, where.audio, corpora / "cache", lambda items, what, count: items)
        args = where.features.args
        found = cache.features(
            waves, data.feature, "log_mel", args, corpora / "cache", lambda items, what, count: items
        )
        rows |= {clip.path: (found.values[i], found.valid[i]) for i, clip in enumerate(corpus.clips)}
    assert len(rows) == len(data.clips) == 76
    index = torch.from_numpy(np.random.default_rng(0).permutation(76))
    for part in (index, index[:5], torch.tensor([3, 3]), torch.tensor([75])):
        batch = data.gather(part, CPU)
        assert torch.equal(batch.indices, part)
        for i, label, stored, extent in zip(part.tolist(), batch.labels, batch.stored, batch.valid, strict=True):
            values, valid = rows[data.clips[i].path]
            assert torch.equal(stored, values)
            assert extent == valid
            assert data.classes[label] == emotion_of(data.clips[i].path)


def test_a_clips_feature_is_computed_from_its_own_file(corpora: Path) -> None:
    """librosa on the file as soundfile reads it, without our decoding: white noise leaves nothing to trim."""
    data = ready(experiment(corpora))
    for i in (0, 21, 47):
        wave, _ = soundfile.read(data.clips[i].path)
        mel = librosa_mel(wave - wave.mean())
        stored = data.gather(torch.tensor([i]), CPU).stored[0, 0, :, : mel.shape[1]]
        np.testing.assert_allclose(stored.numpy(), mel, atol=0.05)


def test_waveforms_are_padded_with_zeros_and_give_the_cached_features(corpora: Path) -> None:
    data = ready(experiment(corpora, **TWO))
    index = torch.tensor([0, 60, 7, 75, 7])
    batch, cached = data.gather_waveforms(index, CPU), data.gather(index, CPU)
    assert batch.waveforms.shape == (5, int(batch.lengths.max()))
    for i, wave, length in zip(index.tolist(), batch.waveforms, batch.lengths.tolist(), strict=True):
        expected = audio.load(data.clips[i].path, Audio())
        assert length == len(expected)
        np.testing.assert_allclose(wave[:length].numpy(), expected, atol=1e-4 * np.abs(expected).max())
        assert not wave[length:].any()
    stored, valid = data.feature(batch.waveforms, batch.lengths)
    torch.testing.assert_close(stored, cached.stored, atol=0.01, rtol=1e-4)
    torch.testing.assert_close(valid, cached.valid)
    assert torch.equal(batch.labels, cached.labels)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    make_ravdess(tmp_path, actors=1)
    with pytest.raises(UserError, match="no clip for the val split"):
        ready(experiment(tmp_path, protocol={"name": "paper_random", "val_share": 0.0, "test_share": 0.2}))


def test_fewer_clips_of_each_emotion_than_folds_are_refused_with_the_number_that_works(corpora: Path) -> None:
    """SAVEE's four speakers say each emotion once here."""
    with pytest.raises(UserError, match=r"5 folds need as many clips of an emotion.*; try protocol\.folds=4"):
        ready(experiment(corpora, corpora={"savee": {}}, protocol={"name": "random"}))
    data = ready(experiment(corpora, corpora={"savee": {}}, protocol={"name": "random", "folds": 4}))
    assert all(len(data.split.indices(split_name)) for split_name in SPLITS)


def test_setting_up_twice_changes_nothing(corpora: Path) -> None:
    data = ready(experiment(corpora))
    clips, split = data.clips, data.split
    data.setup("fit")
    assert data.clips is clips
    assert data.split is split


def test_the_digest_names_the_clips_of_a_split_and_their_features(corpora: Path) -> None:
    def digest(*splits: str, **changes: Any) -> str:
        return ready(experiment(corpora, **changes)).digest(*(splits or SPLITS))

    same = [digest(), digest(), digest(seed=5), digest(data={"batch_size": 16})]
    other = [
        digest(protocol={"name": "speaker_folds", "fold": 1}),
        digest(features={"name": "log_mel", "bands": 40}),
        digest(audio={"sample_rate": 8_000}),
        digest(**TWO),
        digest("test"),
        digest("val"),
    ]
    assert len(set(same)) == 1
    assert len({same[0], *other}) == 7
    shares = {"name": "paper_random", "test_share": 0.25}  # the same test split, whatever the others
    tests = [digest("test", protocol=shares | {"val_share": share}) for share in (0.1, 0.25)]
    assert tests[0] == tests[1]


def test_the_training_loader_takes_another_order_each_epoch(corpora: Path) -> None:
    data = ready(experiment(corpora))
    loader = data.train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)  # as Lightning does
        epochs.append(torch.cat(list(loader)).tolist())
    assert epochs[0] == epochs[2] != epochs[1]
    assert set(epochs[0]) <= set(data.split.train.tolist())


def test_the_validation_loaders_read_each_clip_once_in_order(corpora: Path) -> None:
    data = ready(experiment(corpora, fit={"gap_clips": 10}))
    validation, gap = ([rows.tolist() for rows in loader] for loader in data.val_dataloader())
    assert list(chain(*validation)) == data.split.val.tolist()
    assert list(chain(*gap)) == data.gap_clips().tolist()
    assert [len(rows) for rows in gap] == [8, 2]


def test_the_gap_is_measured_on_fixed_training_clips(corpora: Path) -> None:
    data = ready(experiment(corpora, fit={"gap_clips": 10}))
    chosen = data.gap_clips()
    assert len(set(chosen.tolist())) == 10
    assert set(chosen.tolist()) <= set(data.split.train.tolist())
    assert chosen.tolist() == data.gap_clips().tolist()
    assert chosen.tolist() == ready(experiment(corpora, fit={"gap_clips": 10})).gap_clips().tolist()
    assert chosen.tolist() != data.split.train[:10].tolist()  # not one speaker's
    everything = ready(experiment(corpora, fit={"gap_clips": 10_000})).gap_clips()
    assert everything.tolist() == data.split.train.tolist()


def test_every_feature_goes_through(demo_data: Path) -> None:
    for name in parts.names("features"):
        features = {"name": name, **NEEDED.get(name, {})}
        data = ready(experiment(demo_data, demo_data, corpora={"demo": DEMO}, features=features))
        mean, std = data.statistics()
        batch = data.gather(torch.from_numpy(data.split.train), CPU)
        shown = (data.feature.present(batch.stored) - mean) / std
        assert shown.isfinite().all()
        if batch.valid.min() == 1:  # no padding: then the normalised training split has mean 0 and deviation 1
            shown = shown[(std != 1).expand_as(shown)]  # values that never vary are left as they are
            assert shown.mean().item() == pytest.approx(0, abs=1e-3)
            assert shown.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_batches_on_the_gpu_are_those_of_the_memory_map(corpora: Path) -> None:
    data = ready(experiment(corpora, **TWO))
    index = torch.from_numpy(np.random.default_rng(0).permutation(76)[:20])
    here, there = data.gather(index, CPU), data.gather(index, torch.device("cuda"))
    assert there.stored.is_cuda
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a, b.cpu())

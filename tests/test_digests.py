"""Equal recordings have equal digests, under whatever name and in whatever format."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from cached import AUDIO, clip, silently
from conftest import hiss

from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import Clip, ravdess
from emotion_lightning.data import cache


def digests(folder: Path, *paths: Path) -> list[str]:
    waves = cache.waves([clip(path) for path in paths], Audio(trim_db=None), folder, silently)
    assert not any(waves.faults)
    return waves.digests.tolist()


def test_equal_audio_has_an_equal_digest_in_any_format(write_wav: Callable[..., Path], tmp_path: Path) -> None:
    wave = (hiss(0.3) * 32768).round().clip(-32768, 32767) / 32768
    same = [
        write_wav("a.wav", wave),
        write_wav("b.flac", wave),
        write_wav("c.wav", wave, subtype="PCM_24"),
        write_wav("d.wav", wave, subtype="FLOAT"),
        write_wav("e.wav", np.stack([wave, wave], 1)),
        write_wav("f.wav", wave / 4, subtype="FLOAT"),  # another gain, exactly
    ]
    wave[100] += 0.01
    *found, other = digests(tmp_path, *same, write_wav("g.wav", wave))
    assert len(set(found)) == 1
    assert other != found[0]


def real_ravdess(folder: Path) -> list[Clip]:
    return [item for item in ravdess.read(folder) if isinstance(item, Clip)]


def duplicates(clips: Sequence[Clip], folder: Path) -> set[frozenset[str]]:
    waves = cache.waves(clips, AUDIO, folder, silently)
    assert not any(waves.faults)
    by_digest = Counter(waves.digests.tolist())
    ids = {d: frozenset(c.id for c, e in zip(clips, waves.digests, strict=True) if e == d) for d in by_digest}
    return {ids[d] for d, count in by_digest.items() if count > 1}


KNOWN_PAIR = frozenset({"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"})


@pytest.mark.real
def test_actor_07_of_ravdess_has_one_recording_twice(real_corpora: Path, tmp_path: Path) -> None:
    clips = real_ravdess(real_corpora / "ravdess" / "Actor_07")
    assert len(clips) == 60
    assert duplicates(clips, tmp_path) == {KNOWN_PAIR}


@pytest.mark.slow
@pytest.mark.real
def test_ravdess_has_no_other_recording_twice(real_corpora: Path, tmp_path: Path) -> None:
    clips = real_ravdess(real_corpora / "ravdess")
    assert len(clips) == 1440
    assert duplicates(clips, tmp_path) == {KNOWN_PAIR}


@pytest.mark.real
def test_real_originals_and_their_flac_copies_have_equal_digests(real_corpora: Path, tmp_path: Path) -> None:
    originals = sorted(real_corpora.glob("originals/*/*.wav"))
    copies = [next((real_corpora / p.parent.name).rglob(f"{p.stem}.flac")) for p in originals]
    found = digests(tmp_path, *originals, *copies)
    assert found[: len(originals)] == found[len(originals) :]

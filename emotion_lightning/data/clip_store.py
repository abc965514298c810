"""The clips of an experiment's corpora, with their cached waveforms and features, by the index of the clip."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import Clip, Corpus, open_corpus, relabel
from emotion_lightning.data import cache
from emotion_lightning.data.filesystem import Track
from emotion_lightning.data.offline_augmentation import Expanded, expand
from emotion_lightning.errors import UserError, listed
from emotion_lightning.features import Feature


class ClipStore:
    """Good clips, one for each row: offline augmentations add rows of the same clip.

    `notes` says what the user should know about the corpora, `bad_clips` what cannot be read.
    """

    def __init__(self, experiment: Experiment, feature: Feature, track: Track):
        """Reads the corpora and fills the cache.

        Raises: UserError for missing corpora, and for bad clips (unless data.on_bad_clip=skip).
        """
        self._experiment, self._feature, self._track = experiment, feature, track
        self.clips: list[Clip] = []
        self.notes: list[str] = []
        self.bad_clips: list[str] = []
        self._waves: list[cache.Waves] = []
        self._features: list[cache.Features] = []
        positions: list[tuple[int, int]] = []  # of each clip: the number of its corpus and its row there
        for name, args in experiment.corpora.items():
            corpus = open_corpus(name, args, Path(experiment.data.dir), self._cache)
            for row, clip in relabel(self._load(corpus), experiment.emotions):
                self.clips.append(clip)
                positions.append((len(self._features) - 1, row))
        self._require_good_clips()
        self._corpus, self._row = torch.tensor(positions).reshape(-1, 2).T

    @property
    def _cache(self) -> Path:
        return Path(self._experiment.data.cache)

    @property
    def content(self) -> list[str]:
        """What names the audio and the computation of the features, for each corpus."""
        return [features.content for features in self._features]

    @property
    def nbytes(self) -> int:
        """The size of all stored features in bytes."""
        return sum(features.values.nbytes for features in self._features)

    def values(self, index: Tensor) -> Tensor:
        """Returns the stored features (B, C, F, T) of the clips `index` (B,), all on the CPU."""
        return self._of_clips([features.values for features in self._features], index)

    def valid(self, index: Tensor) -> Tensor:
        """Returns the valid shares (B,) of the clips."""
        return self._of_clips([features.valid for features in self._features], index)

    def waveforms(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Returns waveforms (B, samples), zero-padded at the end, and their lengths (B,) in samples."""
        pieces = [self._waves[self._corpus[i]].batch([int(self._row[i])]) for i in index]
        lengths = torch.cat([length for _, length in pieces])
        return torch.nn.utils.rnn.pad_sequence([wave[0] for wave, _ in pieces], batch_first=True), lengths

    def seconds(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the length of the clips `index` (N,) in seconds."""
        lengths = self._of_clips([torch.from_numpy(waves.lengths) for waves in self._waves], torch.from_numpy(index))
        return lengths.numpy() / self._experiment.audio.sample_rate

    def fingerprints(self) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]]:
        """Returns a function from clips (N,) to their fingerprints (N, bands, frames), which the audit compares."""
        name = "fingerprint"
        feature = parts.entry("features", name)(self._experiment.audio.sample_rate)
        stores = [cache.features(w, feature, name, {}, self._cache, self._track).values[:, 0] for w in self._waves]
        return lambda index: self._of_clips(stores, torch.from_numpy(index)).numpy()

    def _of_clips(self, stores: Sequence[Tensor], index: Tensor) -> Tensor:
        """Returns (B, …): what the stores of the corpora, each (clips, …), hold of these clips."""
        result = torch.empty(len(index), *stores[0].shape[1:], dtype=stores[0].dtype)
        for number, store in enumerate(stores):
            of_corpus = self._corpus[index] == number
            result[of_corpus] = store[self._row[index[of_corpus]]]
        return result

    def _load(self, corpus: Corpus) -> dict[int, Clip]:
        """Returns the good clips of a corpus by their row in its waveforms and features, which it appends to ours."""
        settings = self._experiment
        waves = cache.waves(corpus.clips, settings.audio, self._cache, self._track)
        bad = [f"{clip.path}: {fault}" for clip, fault in zip(corpus.clips, waves.faults, strict=True) if fault]
        self.notes += corpus.warnings
        self.bad_clips += bad
        if bad and (settings.data.on_bad_clip == "stop" or not waves.lengths.any()):
            return {}
        expanded = expand(waves, settings.augment, self._cache, self._track)
        name, args = settings.features.name, settings.features.args
        self._waves.append(expanded.waves)
        self._features.append(cache.features(expanded.waves, self._feature, name, args, self._cache, self._track))
        good = np.flatnonzero(expanded.waves.lengths).tolist()
        return {row: _clip_of_row(corpus.clips[expanded.clips[row]], expanded, row) for row in good}

    def _require_good_clips(self) -> None:
        """Raises UserError for bad clips, unless they are to be skipped and others are left."""
        stop = self._experiment.data.on_bad_clip == "stop"
        if self.bad_clips and (stop or not self.clips):
            way_out = '; SET="data.on_bad_clip=skip" continues without them' if stop else ", and no other"
            count = len(self.bad_clips)
            raise UserError(listed(f"{count} bad clip{'s' * (count > 1)}{way_out}", self.bad_clips))
        if not self.clips:
            raise UserError(
                'emotions: every clip is left out; SET="emotions.happy=happy" brings an emotion back, for example'
            )


def _clip_of_row(clip: Clip, expanded: Expanded, row: int) -> Clip:
    variant = str(expanded.variants[row])
    name = f"{clip.id}#{variant}" if variant else clip.id
    return replace(clip, id=name, content=str(expanded.waves.digests[row]), variant=variant)

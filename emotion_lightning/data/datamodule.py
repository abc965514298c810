"""EmotionData: corpora → one set of clips with a split, features in the cache, and batches on the device.

The loader yields indices only. The features they stand for lie on the GPU where they fit, else in the memory map, so
a step costs no Python per clip and no copy between processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import Clip, Corpus, classes, open_corpus, relabelled
from emotion_lightning.data import cache
from emotion_lightning.data import offline_augmentation as rows
from emotion_lightning.data.access_log import Reads
from emotion_lightning.data.filesystem import Track, digest
from emotion_lightning.data.sampler import Batches, Indices
from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature, heard
from emotion_lightning.protocols import SIDES, share_out

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Batch(NamedTuple):
    rows: Tensor  # (B,) indices into EmotionData.clips, on the CPU
    labels: Tensor  # (B,) class ids
    stored: Tensor  # (B, C, F, T), the feature's stored form; or (B, samples) waveforms where they are augmented
    extent: Tensor  # (B,) share of the time axis that holds the clip; or lengths in samples


class EmotionData(L.LightningDataModule):
    """Everything between the settings and the batches. `setup` may be called often and works once."""

    def __init__(self, experiment: Experiment, track: Track = lambda items, what, count: items):
        super().__init__()
        self.experiment, self.track = experiment, track
        self.waveforms_in_training = False  # set by the classifier where an augmentation works on waveforms
        self.clips: list[Clip] = []  # one a row: where the experiment multiplies rows, a clip stands several times
        self.notes: list[str] = []  # what the user should know of the corpora
        self.bad_clips: list[str] = []
        self._resident: Tensor | None = None
        self.reads = Reads()

    def setup(self, stage: str | None = None) -> None:
        if self.clips:
            return
        self.notes, self.bad_clips = [], []
        experiment = self.experiment
        self.feature: Feature = parts.entry("features", experiment.features.name)(
            experiment.audio.sample_rate, **experiment.features.args
        )
        self._waves: list[cache.Waves] = []
        self._features: list[cache.Features] = []
        clips: list[Clip] = []
        where: list[tuple[int, int]] = []  # corpus number and row of each of them
        for name, args in experiment.corpora.items():
            corpus = open_corpus(name, args, Path(experiment.data.dir), Path(experiment.data.cache))
            found = self._load(corpus)
            for row, clip in relabelled(found, experiment.emotions):
                clips.append(clip)
                where.append((len(self._features) - 1, row))
        if self.bad_clips and (experiment.data.on_bad_clip == "stop" or not clips):
            way_out = (
                '; SET="data.on_bad_clip=skip" goes on without them'
                if experiment.data.on_bad_clip == "stop"
                else ", and no other"
            )
            raise UserError("\n".join([f"{len(self.bad_clips)} bad clips{way_out}", *self.bad_clips]))
        if not clips:
            raise UserError("emotions: every clip is left out")
        self._corpus, self._row = torch.tensor(where).reshape(-1, 2).T
        self.split = share_out(clips, experiment.protocol.name, experiment.protocol.args)
        self.classes = classes(clips[i] for side in SIDES for i in self.split.side(side))
        self.labels = torch.tensor(
            [self.classes.index(c.emotion) if c.emotion in self.classes else -1 for c in clips]
        )
        self.clips = clips

    def _load(self, corpus: Corpus) -> dict[int, Clip]:
        """One corpus's clips that can be heard, by the row that they have in its waveforms and features, which are appended
        to ours."""
        settings, folder = self.experiment, Path(self.experiment.data.cache)
        waves = cache.waves(corpus.clips, settings.audio, folder, self.track)
        bad = [f"{clip.path}: {fault}" for clip, fault in zip(corpus.clips, waves.faults, strict=True) if fault]
        self.notes += corpus.warnings
        self.bad_clips += bad
        if bad and (settings.data.on_bad_clip == "stop" or not waves.lengths.any()):
            return {}
        made = rows.multiplied(waves, settings.augment, folder, self.track)
        self._waves.append(made.waves)
        self._features.append(
            cache.features(
                made.waves, self.feature, settings.features.name, settings.features.args, folder, self.track
            )
        )
        return {
            row: _as_row(corpus.clips[made.clips[row]], made, row)
            for row in np.flatnonzero(made.waves.lengths).tolist()
        }

    def fingerprints(self) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]]:
        """What the audit compares recordings by: rows (N,) → (N, bands, frames), read from the cache when asked for."""
        folder, name = Path(self.experiment.data.cache), "fingerprint"
        feature = parts.entry("features", name)(self.experiment.audio.sample_rate)
        stores = [cache.features(w, feature, name, {}, folder, self.track).values[:, 0] for w in self._waves]
        return lambda index: self._from_stores(stores, torch.from_numpy(index)).numpy()

    def hear(self, row: int) -> NDArray[np.float32]:
        """One clip's waveform (samples,)."""
        self.reads.note(np.array([row]))
        return self._waves[self._corpus[row]].batch([int(self._row[row])])[0][0].numpy()

    def saw(self, purpose: str, side: str) -> int:
        """How many clips of a side were read for a purpose ("fit", "normaliser")."""
        return self.reads.saw(purpose, self.split.side(side))

    def digest(self, side: str, *sides: str) -> str:
        """16 hex digits that name these sides' clips, their labels and their features."""
        clips = [
            [(c.corpus, c.id, c.content, c.emotion) for c in map(self.clips.__getitem__, self.split.side(name))]
            for name in (side, *sides)
        ]
        return digest([f.key for f in self._features], *clips)

    def gather(self, rows: Tensor, device: torch.device) -> Batch:
        """The clips of these indices (B,), given on the CPU, as their stored features on the device."""
        self.reads.note(rows.numpy())
        valid = self._from_stores([features.valid for features in self._features], rows)
        stored = self._stored(rows, device)
        return Batch(
            rows, self.labels[rows].to(device, non_blocking=True), stored, valid.to(device, non_blocking=True)
        )

    def gather_waveforms(self, rows: Tensor, device: torch.device) -> Batch:
        """The same clips as (B, samples) waveforms, zero-padded behind, with lengths in samples."""
        self.reads.note(rows.numpy())
        pieces = [self._waves[self._corpus[i]].batch([int(self._row[i])]) for i in rows]
        lengths = torch.cat([length for _, length in pieces])
        waves = torch.nn.utils.rnn.pad_sequence([wave[0] for wave, _ in pieces], batch_first=True)
        return Batch(rows, self.labels[rows].to(device), waves.to(device), lengths.to(device))

    def _stored(self, rows: Tensor, device: torch.device) -> Tensor:
        if device.type == "cuda" and self._fits(device):
            if self._resident is None:
                self._resident = self._from_map(torch.arange(len(self.clips))).to(device)
            return self._resident[rows.to(device, non_blocking=True)]
        return self._from_map(rows).to(device, non_blocking=True)

    def _from_map(self, rows: Tensor) -> Tensor:
        return self._from_stores([features.values for features in self._features], rows)

    def _from_stores(self, stores: Sequence[Tensor], rows: Tensor) -> Tensor:
        """(B, …): of each row what its corpus's store (clips, …) has of it."""
        out = torch.empty(len(rows), *stores[0].shape[1:], dtype=stores[0].dtype)
        for number, store in enumerate(stores):
            here = self._corpus[rows] == number
            out[here] = store[self._row[rows[here]]]
        return out

    def _fits(self, device: torch.device) -> bool:
        """Whether all features take less than half of the GPU's free memory."""
        if self._resident is not None:
            return True
        free, _ = torch.cuda.mem_get_info(device)
        return sum(f.values.nbytes for f in self._features) < free / 2

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation to normalise with, broadcastable to (B, C, F, T); frames behind a clip's end do
        not count, and no clip outside the training side is read."""
        if self.experiment.data.normalise == "none":
            return torch.zeros(1), torch.ones(1)
        if self.experiment.data.normalise == "imagenet":
            mean, std = torch.tensor(IMAGENET)
            return mean[:, None, None], std[:, None, None]
        axes = (0, 2, 3) if self.feature.is_picture else (0, 3)
        count, total, squares = torch.zeros(1), torch.zeros(1), torch.zeros(1)
        for index in torch.from_numpy(self.split.train).split(64):
            batch = self.gather(index, torch.device("cpu"))
            x = self.feature.present(batch.stored).double()
            mask = heard(batch.extent, x.shape[-1])
            x = x * mask[:, None, None]
            count = count + mask.sum() * (x.shape[2] if self.feature.is_picture else 1)
            total = total + x.sum(axes, keepdim=True)[0]
            squares = squares + x.square().sum(axes, keepdim=True)[0]
        mean = total / count
        variance = squares / count - mean.square()
        return mean.float(), torch.where(
            variance > 1e-10, variance, 1.0
        ).sqrt().float()  # what never varies stays as it is

    # Lightning's hooks

    def train_dataloader(self) -> DataLoader[Tensor]:
        return self.loader(self.split.train, shuffled=True)

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        """The validation side, and fixed clean training clips that the loss gap is measured on."""
        return [self.loader(self.split.val), self.loader(self.gap_clips())]

    def gap_clips(self) -> NDArray[np.int64]:
        count = min(self.experiment.fit.gap_clips, len(self.split.train))
        chosen = np.random.default_rng(self.experiment.seed).permutation(self.split.train)[:count]
        return np.sort(chosen)

    def loader(self, index: NDArray[np.int64], shuffled: bool = False) -> DataLoader[Tensor]:
        size = self.experiment.data.batch_size
        batches: Batches
        if shuffled:
            ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
            batches = Batches(index, size, self.experiment.seed, *ranks)
        else:
            batches = Batches(index, size)
        # A generator of its own: else each start of an epoch would draw from torch's global one, and a resumed run, which
        # starts its first epoch at another moment, would draw other augmentations than an unbroken one.
        return DataLoader(Indices(), sampler=batches, batch_size=None, generator=torch.Generator())

    def transfer_batch_to_device(self, batch: Tensor, device: torch.device, dataloader_idx: int) -> Batch:
        """Indices → what they stand for, on the device; the indices themselves never leave the CPU."""
        training = self.trainer is not None and self.trainer.training
        return (self.gather_waveforms if training and self.waveforms_in_training else self.gather)(batch, device)


def _as_row(clip: Clip, made: rows.Multiplied, row: int) -> Clip:
    kind = str(made.kinds[row])
    return replace(clip, id=f"{clip.id}#{kind}" if kind else clip.id, content=str(made.waves.digests[row]), row=kind)

"""EmotionData: corpora → one list of clips with a split, features in the cache, and batches on the device.

The data loaders yield indices of clips only. Their features are on the GPU if they fit there, else in the memory map.
So a step costs no Python for each clip and no copy between processes.
"""

from collections.abc import Callable
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import Clip, classes
from emotion_lightning.data import notes
from emotion_lightning.data.access_log import AccessLog
from emotion_lightning.data.clip_store import ClipStore
from emotion_lightning.data.filesystem import Track, digest
from emotion_lightning.data.permuted_labels import permuted
from emotion_lightning.data.sampler import Batches, Indices
from emotion_lightning.data.speaker_normaliser import SpeakerNormaliser
from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature, valid_frames
from emotion_lightning.protocols import SPLITS, make_split

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FIXED = {"imagenet": IMAGENET, "inception": ((0.5,) * 3, (0.5,) * 3)}
"""Mean and standard deviation of the channels of a picture, 0…1, that pretrained networks were trained with."""


class FeatureBatch(NamedTuple):
    """Clips as stored features."""

    indices: Tensor  # (B,) into EmotionData.clips, on the CPU
    labels: Tensor  # (B,) class ids
    stored: Tensor  # (B, C, F, T), the feature's stored form
    valid: Tensor  # (B,) share of the time axis that holds the clip, 0…1


class WaveformBatch(NamedTuple):
    """Clips as waveforms, where an augmentation works on waveforms."""

    indices: Tensor  # (B,) into EmotionData.clips, on the CPU
    labels: Tensor  # (B,) class ids
    waveforms: Tensor  # (B, samples), followed by zeros
    lengths: Tensor  # (B,) in samples


class EmotionData(L.LightningDataModule):
    """The LightningDataModule of an experiment. `setup` may be called several times and works once."""

    def __init__(self, experiment: Experiment, track: Track = lambda items, what, count: items):
        super().__init__()
        self.experiment, self.track = experiment, track
        self.waveforms_in_training = False  # set by the classifier where an augmentation works on waveforms
        self.clips: list[Clip] = []  # one for each row: offline augmentations add rows of the same clip
        self.notes: list[str] = []  # what the user should know about the corpora
        self.bad_clips: list[str] = []
        self._resident: Tensor | None = None
        self._normalise_speakers: SpeakerNormaliser | None = None
        self.access_log = AccessLog()

    def setup(self, stage: str | None = None) -> None:
        """Reads the corpora, fills the cache and makes the split.

        Raises: UserError for missing corpora, bad clips (unless data.on_bad_clip=skip), and an impossible split.
        """
        if self.clips:
            return
        experiment = self.experiment
        self.feature: Feature = parts.entry("features", experiment.features.name)(
            experiment.audio.sample_rate, **experiment.features.args
        )
        self._store = ClipStore(experiment, self.feature, self.track)
        self.bad_clips = self._store.bad_clips
        clips = permuted(self._store.clips, experiment.seed) if experiment.data.permute_labels else self._store.clips
        self.split = make_split(clips, experiment.protocol.name, experiment.protocol.args)
        self.classes = classes(clips[i] for name in SPLITS for i in self.split.indices(name))
        self.labels = torch.tensor(
            [self.classes.index(c.emotion) if c.emotion in self.classes else -1 for c in clips]
        )
        self.clips = clips
        if experiment.data.normalise_speakers:
            self._normalise_speakers = self._speaker_normaliser()
        recorded = np.flatnonzero([not clip.variant for clip in clips])
        self.notes = [
            *self._store.notes,
            *notes.on_classes(clips, self.split, self.classes),
            *notes.on_contradictions(clips),
            *notes.on_unused_clips(clips, self.split, experiment.protocol.name),
            *notes.on_unused_seconds(self._store.seconds(recorded), self.feature.used),
        ]

    def _speaker_normaliser(self) -> SpeakerNormaliser:
        if self.feature.is_picture:
            raise UserError(
                f"data.normalise_speakers: {self.experiment.features.name} is a picture, of which only channels are normalised"
            )
        with self.access_log.purpose("speaker normaliser"):
            return SpeakerNormaliser(self.clips, lambda index: self.gather(index, torch.device("cpu"))[2:])

    def fingerprints(self) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]]:
        """Returns a function from clips (N,) to their fingerprints (N, bands, frames), which the audit compares."""
        return self._store.fingerprints()

    def waveform(self, index: int) -> NDArray[np.float32]:
        """Returns one clip's waveform (samples,)."""
        self.access_log.record(np.array([index]))
        return self._store.waveforms(torch.tensor([index]))[0][0].numpy()

    def training_seconds(self) -> NDArray[np.float64]:
        """Returns the lengths (N,) in seconds of what the model is trained on: clips, or slices of them."""
        return self._store.seconds(self.split.train)

    def count_reads(self, purpose: str | None, split: str) -> int:
        """Returns how many clips of a split were read for a purpose ("fit", "normaliser"), or for any (None)."""
        return self.access_log.count(purpose, self.split.indices(split))

    def digest(self, *splits: str) -> str:
        """Returns 16 hex digits that identify the clips of these splits, their labels and their features."""
        clips = [
            [(c.corpus, c.id, c.content, c.emotion) for c in map(self.clips.__getitem__, self.split.indices(name))]
            for name in splits
        ]
        return digest(self._store.content, *clips)

    def gather(self, index: Tensor, device: torch.device) -> FeatureBatch:
        """Returns the stored features of these clips (B,) on the device; `index` is on the CPU."""
        self.access_log.record(index.numpy())
        labels, valid = (t.to(device, non_blocking=True) for t in (self.labels[index], self._store.valid(index)))
        stored = self._stored(index, device)
        if self._normalise_speakers:
            stored = self._normalise_speakers(stored, index)
        return FeatureBatch(index, labels, stored, valid)

    def gather_waveforms(self, index: Tensor, device: torch.device) -> WaveformBatch:
        """Returns the waveforms of these clips (B,) on the device; `index` is on the CPU."""
        self.access_log.record(index.numpy())
        waveforms, lengths = self._store.waveforms(index)
        return WaveformBatch(index, self.labels[index].to(device), waveforms.to(device), lengths.to(device))

    def _stored(self, index: Tensor, device: torch.device) -> Tensor:
        if device.type == "cuda" and self._fits(device):
            if self._resident is None:
                self._resident = self._store.values(torch.arange(len(self.clips))).to(device)
            return self._resident[index.to(device, non_blocking=True)]
        return self._store.values(index).to(device, non_blocking=True)

    def _fits(self, device: torch.device) -> bool:
        """Returns whether all features take less than half of the GPU's free memory."""
        if self._resident is not None:
            return True
        free, _ = torch.cuda.mem_get_info(device)
        return self._store.nbytes < free / 2

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Returns the mean and standard deviation to normalise with, both broadcastable to (B, C, F, T).

        Only clips of the training split are read. Frames after the end of a clip do not count.
        """
        if self.experiment.data.normalise == "none":
            return torch.zeros(1), torch.ones(1)
        if self.experiment.data.normalise in FIXED:
            mean, std = torch.tensor(FIXED[self.experiment.data.normalise])
            return mean[:, None, None], std[:, None, None]
        axes = (0, 2, 3) if self.feature.is_picture else (0, 3)
        count, total, squares = torch.zeros(1), torch.zeros(1), torch.zeros(1)
        for index in torch.from_numpy(self.split.train).split(64):
            batch = self.gather(index, torch.device("cpu"))
            x = self.feature.present(batch.stored).double()
            mask = valid_frames(batch.valid, x.shape[-1])
            x = x * mask[:, None, None]
            count = count + mask.sum() * (x.shape[2] if self.feature.is_picture else 1)
            total = total + x.sum(axes, keepdim=True)[0]
            squares = squares + x.square().sum(axes, keepdim=True)[0]
        mean = total / count
        variance = squares / count - mean.square()
        # a band that never varies keeps its scale
        return mean.float(), torch.where(variance > 1e-10, variance, 1.0).sqrt().float()

    # Lightning's hooks

    def train_dataloader(self) -> DataLoader[Tensor]:
        return self.loader(self.split.train, shuffled=True)

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        """Returns loaders of the validation split, and of the training clips that the loss gap is measured on."""
        return [self.loader(self.split.val), self.loader(self.gap_clips())]

    def gap_clips(self) -> NDArray[np.int64]:
        """Returns the training clips (N,) that the loss gap is measured on, the same ones in every epoch."""
        count = min(self.experiment.fit.gap_clips, len(self.split.train))
        chosen = np.random.default_rng(self.experiment.seed).permutation(self.split.train)[:count]
        return np.sort(chosen)

    def loader(self, index: NDArray[np.int64], shuffled: bool = False) -> DataLoader[Tensor]:
        """Returns a loader that yields batches of these indices, in order or shuffled in each epoch."""
        size = self.experiment.data.batch_size
        batches: Batches
        if shuffled:
            ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
            batches = Batches(index, size, self.experiment.seed, *ranks)
        else:
            batches = Batches(index, size)
        # Its own generator: without it, each epoch would draw from torch's global one, and a resumed run would get other
        # augmentations than an uninterrupted one.
        return DataLoader(Indices(), sampler=batches, batch_size=None, generator=torch.Generator())

    def transfer_batch_to_device(
        self, batch: Tensor, device: torch.device, dataloader_idx: int
    ) -> FeatureBatch | WaveformBatch:
        """Replaces the indices of a batch by the data of the clips, on the device."""
        training = self.trainer is not None and self.trainer.training
        return (self.gather_waveforms if training and self.waveforms_in_training else self.gather)(batch, device)

"""Finds what two splits share: speakers, clips and their copies, near-duplicate recordings, sentences.

The audit runs before every training run and in `make audit`. It stops the run where the splits overlap although the
protocol promises that they do not (`DISJOINT`), and where a recording is on two splits, unless the protocol LEAKS.
Every other overlap is only reported, by the run as well (summary.py).
"""

import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path

import numpy as np

from emotion_lightning.audit import harmonics, near_duplicates
from emotion_lightning.audit.near_duplicates import Fingerprints, LoadWaveform, Match
from emotion_lightning.corpora import Clip
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.filesystem import build_once, digest, source_digest
from emotion_lightning.errors import UserError
from emotion_lightning.features import fingerprint
from emotion_lightning.protocols import SPLITS, Split, leaks, promises

Key = Callable[[Clip], Hashable]


def source_clip(clip: Clip) -> Hashable:
    """Returns a key of the recorded clip that an offline augmentation was made from; of the clip itself if it is recorded."""
    return clip.corpus, clip.id.removesuffix(f"#{clip.variant}") if clip.variant else clip.id


KEYS: dict[str, tuple[str, Key]] = {
    "corpus": ("corpora", lambda clip: clip.corpus),
    "speaker": ("speakers", lambda clip: clip.speaker),
    "sentence": ("sentences", lambda clip: (clip.corpus, clip.sentence) if clip.sentence else ""),
    "clip": ("clips and their copies", source_clip),
    "content": ("equal audio", lambda clip: clip.content),
}
SIMILAR_AUDIO = {
    "near_equal_audio": "near-equal audio",  # the same recording in another format, rate or level
    "altered_copy": "altered copy or similar take",  # altered in pitch or by noise; two takes can be as similar
}


@dataclass(frozen=True)
class Finding:
    """How many clips of one split share a property with another split.

    Test clips are compared with training and validation clips, validation clips with training clips.
    """

    name: str  # "speaker"
    label: str  # "speakers"
    clips: int  # that share it
    total: int  # clips of the split
    example: str
    split: str = "test"
    verdict: str = "ok"  # ok, allowed (the protocol promises nothing else), LEAK, BROKEN (a promise), or not compared
    noun: str = "clips"  # or "rows", where variants of clips are in the split

    def __str__(self) -> str:
        return f"{self.clips} of {self.total} {self.split} {self.noun}"


@dataclass(frozen=True)
class Audit:
    """All findings on the splits of one experiment."""

    protocol: str
    findings: tuple[Finding, ...]
    emotion_counts: dict[str, Counter[str]]  # by split: number of clips of each emotion
    duplicates: tuple[str, ...]  # pairs of clips with equal audio, on whatever splits: "a = b"

    def broken(self) -> list[Finding]:
        """Returns the overlaps that the protocol promises not to have."""
        return [finding for finding in self.findings if finding.verdict == "BROKEN"]

    def leaks(self) -> list[Finding]:
        """Returns the overlaps by which training knows test or validation clips, broken promises included."""
        return [finding for finding in self.findings if finding.verdict in ("BROKEN", "LEAK")]

    def raise_if_broken(self) -> None:
        """Stops a run whose protocol does not keep its promise.

        Raises:
            UserError: an overlap is BROKEN; the message names each with an example.
        """
        if broken := self.broken():
            overlaps = "; ".join(
                f"{finding} share {finding.label} with another split (for example {finding.example})"
                for finding in broken
            )
            raise UserError(f"audit: protocol {self.protocol} does not keep its promise: {overlaps}")


def audit(data: EmotionData) -> Audit:
    """Audits the splits of an experiment's data after `setup`. Near-duplicates are kept in the cache.

    Raises:
        UserError: the protocol's DISJOINT is not a tuple of fields of a clip.
    """
    protocol = data.experiment.protocol.name
    by_key = key_overlaps(data.clips, data.split, protocol)
    with data.access_log.purpose("audit"):
        pairs = _cached_similar_pairs(data)
    by_audio = _audio_overlaps(data.clips, data.split, pairs)
    return Audit(protocol, (*by_key, *by_audio), emotion_counts(data), duplicates(data))


def key_overlaps(clips: Sequence[Clip], split: Split, protocol: str) -> list[Finding]:
    """Finds the overlaps that names and digests show. It reads no audio, so it suits any number of clips.

    Raises:
        UserError: the protocol's DISJOINT is not a tuple of fields of a clip.
    """
    promised = set(promises(protocol))
    # without LEAKS, every protocol keeps a clip and its copies on one split, the validation split included
    always = () if leaks(protocol) else ("clip", "content")
    keys: dict[str, tuple[str, Key]] = {**KEYS, **{name: (name, attrgetter(name)) for name in promised - KEYS.keys()}}
    findings = []
    for name, (label, key) in keys.items():
        values = [key(clip) for clip in clips]
        for split_name, others in (("test", (split.train, split.val)), ("val", (split.train,))):
            other_values = {values[i] for other in others for i in other}
            if name not in promised:  # an unknown value overlaps with nothing, unless a promise depends on it
                other_values.discard("")
            indices = split.indices(split_name)
            shared = [i for i in indices if values[i] in other_values]
            example = clips[shared[0]].id if shared else ""
            noun = "rows" if any(clips[i].variant for i in indices) else "clips"
            finding = Finding(name, label, len(shared), len(indices), example, split_name, noun=noun)
            is_promised = name in always or (name in promised and split_name == "test")
            findings.append(_judge(finding, is_promised, leak=name in ("clip", "content")))
    return findings


def _judge(finding: Finding, promised: bool, leak: bool) -> Finding:
    """Returns the finding with its verdict."""
    if not finding.clips:
        return finding
    if promised:
        return replace(finding, verdict="BROKEN")
    return replace(finding, verdict="LEAK" if leak else "allowed")


def _audio_overlaps(clips: Sequence[Clip], split: Split, pairs: Sequence[Match]) -> list[Finding]:
    """Turns pairs of clips with similar audio into findings. Only clips as recorded were compared, and count.

    A near-equal recording on two splits is a LEAK. An altered copy is a LEAK only between two speakers, since two takes
    by one speaker can be as similar as an altered copy.
    """
    split_of = {int(i): name for name in SPLITS for i in split.indices(name)}
    findings = []
    for name, label in SIMILAR_AUDIO.items():
        is_same = name == "near_equal_audio"
        of_kind = [
            pair
            for pair in pairs
            if (pair.similarity >= near_duplicates.SAME_RECORDING) == is_same and not _is_equal(clips, pair)
        ]
        for split_name in ("test", "val"):
            matches = [pair for pair in of_kind if split_of[pair.a] == split_name]
            two_speakers = [pair for pair in matches if clips[pair.a].speaker != clips[pair.b].speaker]
            leak = is_same or bool(two_speakers)
            if two_speakers and not is_same:
                matches = two_speakers
            worst = max(matches, key=lambda pair: pair.similarity, default=None)
            example = f"{clips[worst.a].id} ~ {clips[worst.b].id}, {worst.similarity:.2f}" if worst else ""
            count = len({pair.a for pair in matches})
            compared = sum(not clips[i].variant for i in split.indices(split_name))
            finding = Finding(name, label, count, compared, example, split_name)
            finding = _judge(finding, promised=False, leak=leak)
            findings.append(finding if compared else replace(finding, verdict="not compared"))
    return findings


def _is_equal(clips: Sequence[Clip], pair: Match) -> bool:
    """Returns whether the keys `content` or `clip` cover the pair already."""
    a, b = clips[pair.a], clips[pair.b]
    return a.content == b.content != "" or source_clip(a) == source_clip(b)


def _cached_similar_pairs(data: EmotionData) -> list[Match]:
    """Finds pairs of recorded clips with similar audio, or reads them from the cache.

    Offline augmentations are left out: their names say which clip they were made from.
    """
    code = [Path(__file__), *(Path(str(module.__file__)) for module in (near_duplicates, harmonics, fingerprint))]
    key = digest(data.digest(*SPLITS), *(source_digest(path) for path in code))

    def write(folder: Path) -> None:
        rate = data.experiment.audio.sample_rate
        pairs = similar_pairs(data.clips, data.split, data.fingerprints(), data.waveform, rate)
        (folder / "matches.json").write_text(json.dumps([asdict(pair) for pair in pairs]))

    folder = build_once(Path(data.experiment.data.cache) / f"audit-{key}", write)
    return [Match(**pair) for pair in json.loads((folder / "matches.json").read_text())]


def similar_pairs(
    clips: Sequence[Clip], split: Split, fingerprints: Fingerprints, load_waveform: LoadWaveform, rate: int
) -> list[Match]:
    """Compares test clips with all others, and validation clips with training clips. `rate` is in Hz."""
    train, val, test = (
        np.array([i for i in split.indices(name) if not clips[i].variant], np.int64) for name in SPLITS
    )
    pairs = []
    for ours, others in ((test, np.concatenate([train, val])), (val, train)):
        if len(ours) and len(others):
            pairs += near_duplicates.matches(fingerprints, ours, others, load_waveform, rate)
    return pairs


def emotion_counts(data: EmotionData) -> dict[str, Counter[str]]:
    """Returns, for each split, the number of clips of each emotion."""
    return {name: Counter(data.clips[i].emotion for i in data.split.indices(name)) for name in SPLITS}


def duplicates(data: EmotionData) -> tuple[str, ...]:
    """Returns the clips whose decoded audio equals that of an earlier clip, as "earlier = later"."""
    first: dict[str, Clip] = {}
    pairs = []
    for clip in data.clips:
        earlier = first.setdefault(clip.content, clip)
        if clip.content and earlier is not clip:
            pairs.append(f"{earlier.id} = {clip.id}")
    return tuple(pairs)

"""Who stands on both sides of a split: speakers, clips and their copies, recordings that sound the same, sentences.

Looked at before every training run, and by `make audit`. What a protocol promises (`DISJOINT`) and breaks stops the run; so
does a recording on two sides, unless the protocol is one that LEAKS. Everything else is told, in the run's tags as well.
"""

import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np

from emotion_lightning.audit import harmonics
from emotion_lightning.audit import near_duplicates as likeness
from emotion_lightning.audit.near_duplicates import Hear, Match, Prints
from emotion_lightning.corpora import Clip
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.filesystem import build, digest, source_digest
from emotion_lightning.errors import UserError
from emotion_lightning.features import fingerprint
from emotion_lightning.protocols import SIDES, Split, leaks, promises

Key = Callable[[Clip], Hashable]


def source_clip(clip: Clip) -> Hashable:
    """Names the clip that a row was made of."""
    return clip.corpus, clip.id.removesuffix(f"#{clip.row}") if clip.row else clip.id


KEYS: dict[str, tuple[str, Key]] = {
    "corpus": ("corpora", lambda clip: clip.corpus),
    "speaker": ("speakers", lambda clip: clip.speaker),
    "sentence": ("sentences", lambda clip: (clip.corpus, clip.sentence) if clip.sentence else ""),
    "clip": ("clips and their copies", source_clip),
    "content": ("equal audio", lambda clip: clip.content),
}
SOUNDS = {
    "near_equal_audio": "near-equal audio",  # the same recording in another format, rate or level
    "altered_copy": "altered copy or like take",  # in pitch or by noise; two takes by a speaker can be as like
}


@dataclass(frozen=True)
class Finding:
    """`clips` of the `of` clips on the test side (or on the validation side, against the training side) share `what` with
    another side."""

    name: str  # "speaker"
    what: str  # "speakers"
    clips: int
    of: int
    example: str
    side: str = "test"
    verdict: str = "ok"  # ok, told (the protocol does not promise otherwise), LEAK, or BROKEN (a promise)

    def __str__(self) -> str:
        return f"{self.clips} of {self.of} {self.side} clips"


@dataclass(frozen=True)
class Audit:
    protocol: str
    findings: tuple[Finding, ...]
    balance: dict[str, Counter[str]]  # by side, clips of each emotion
    doubles: tuple[str, ...]  # recordings that stand twice, on one side or on no side: "a = b"

    def broken(self) -> list[Finding]:
        return [f for f in self.findings if f.verdict == "BROKEN"]

    def leaks(self) -> list[Finding]:
        return [f for f in self.findings if f.verdict in ("BROKEN", "LEAK")]

    def tags(self) -> dict[str, str]:
        """One a finding: audit/speaker_overlap = "96 of 96 test clips (told)", audit/val_speaker_overlap likewise."""
        return {
            f"audit/{'val_' * (f.side == 'val')}{f.name}{'' if f.name in SOUNDS else '_overlap'}": f"{f} ({f.verdict})"
            for f in self.findings
        }

    def stop_if_broken(self) -> None:
        if broken := self.broken():
            said = "; ".join(f"{f} share {f.what} with another side (such as {f.example})" for f in broken)
            raise UserError(f"audit: protocol {self.protocol} promises otherwise, but {said}")


def audit(data: EmotionData) -> Audit:
    """Of an experiment's data after `setup`; what sounds alike is kept in the cache beside the waveforms."""
    protocol = data.experiment.protocol.name
    found = examine(data.clips, data.split, protocol)
    with data.reads.purpose("audit"):
        matches = _sounds(data)
    return Audit(protocol, (*found, *_heard(data.clips, data.split, matches, protocol)), balance(data), doubles(data))


def examine(clips: Sequence[Clip], split: Split, protocol: str) -> list[Finding]:
    """What names and digests tell, of any number of clips."""
    promised = set(promises(protocol))
    whole = (
        () if leaks(protocol) else ("clip", "content")
    )  # on one side whatever the protocol, the validation side too
    keys: dict[str, tuple[str, Key]] = {**KEYS, **{name: (name, attrgetter(name)) for name in promised - KEYS.keys()}}
    found = []
    for name, (what, key) in keys.items():
        values = [key(clip) for clip in clips]
        for side, others in (("test", (split.train, split.val)), ("val", (split.train,))):
            there = {values[i] for other in others for i in other}
            if name not in promised:  # of what is not known nothing can be promised
                there.discard("")
            shared = [i for i in split.side(side) if values[i] in there]
            example = clips[shared[0]].id if shared else ""
            finding = Finding(name, what, len(shared), len(split.side(side)), example, side)
            kept = name in whole or (name in promised and side == "test")
            found.append(_judged(finding, kept, leak=name in ("clip", "content")))
    return found


def _judged(finding: Finding, promised: bool, leak: bool) -> Finding:
    if not finding.clips:
        return finding
    verdict = "BROKEN" if promised else "LEAK" if leak else "told"
    return Finding(**{**asdict(finding), "verdict": verdict})


def _heard(clips: Sequence[Clip], split: Split, matches: Sequence[Match], protocol: str) -> list[Finding]:
    """Of pairs that sound alike: a recording on both sides is a LEAK; what might be a take much like it is one between two
    speakers only, since takes by one speaker can be as like as an altered copy."""
    place = {int(i): side for side in SIDES for i in split.side(side)}
    found = []
    for name, what in SOUNDS.items():
        same = name == "near_equal_audio"
        pairs = [m for m in matches if (m.likeness >= likeness.SAME) == same and not _equal(clips, m)]
        for side in ("test", "val"):
            here = [m for m in pairs if place[m.a] == side]
            between = [m for m in here if clips[m.a].speaker != clips[m.b].speaker]
            leak, here = same or bool(between), here if same else between or here
            worst = max(here, key=lambda m: m.likeness, default=None)
            example = f"{clips[worst.a].id} ~ {clips[worst.b].id}, {worst.likeness:.2f}" if worst else ""
            count = len({m.a for m in here})
            finding = Finding(name, what, count, len(split.side(side)), example, side)
            found.append(_judged(finding, promised=False, leak=leak))
    return found


def _equal(clips: Sequence[Clip], match: Match) -> bool:
    a, b = clips[match.a], clips[match.b]
    return a.content == b.content != "" or source_clip(a) == source_clip(b)


def _sounds(data: EmotionData) -> list[Match]:
    """Recorded clips only: what was made of them is known by its name."""
    code = [Path(__file__), *(Path(str(module.__file__)) for module in (likeness, harmonics, fingerprint))]
    key = digest(data.digest(*SIDES), *(source_digest(path) for path in code))

    def write(folder: Path) -> None:
        found = sounds(data.clips, data.split, data.fingerprints(), data.hear, data.experiment.audio.sample_rate)
        (folder / "matches.json").write_text(json.dumps([asdict(match) for match in found]))

    place = build(Path(data.experiment.data.cache) / f"audit-{key}", write)
    return [Match(**match) for match in json.loads((place / "matches.json").read_text())]


def sounds(clips: Sequence[Clip], split: Split, prints: Prints, hear: Hear, rate: int) -> list[Match]:
    """Test clips against both other sides, validation clips against the training side."""
    train, val, test = (np.array([i for i in split.side(s) if not clips[i].row], np.int64) for s in SIDES)
    found = []
    for ours, theirs in ((test, np.concatenate([train, val])), (val, train)):
        if len(ours) and len(theirs):
            found += likeness.matches(prints, ours, theirs, hear, rate)
    return found


def balance(data: EmotionData) -> dict[str, Counter[str]]:
    return {side: Counter(data.clips[i].emotion for i in data.split.side(side)) for side in SIDES}


def doubles(data: EmotionData) -> tuple[str, ...]:
    """Clips whose decoded audio is another clip's."""
    first: dict[str, Clip] = {}
    found = []
    for clip in data.clips:
        other = first.setdefault(clip.content, clip)
        if clip.content and other is not clip:
            found.append(f"{other.id} = {clip.id}")
    return tuple(found)

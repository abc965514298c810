"""Made-up clips, and what a protocol makes of them."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS, Split

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def voices(corpus: str, speakers: int, takes: int = 2, sentences: int = 8) -> list[Clip]:
    """`takes` clips of each speaker and emotion, no two of equal content; the sentences go round by speaker and take."""
    return [
        Clip(f"{s:02}-{emotion}-{take}", Path(), corpus, emotion, f"{corpus}-{s:02}",
             sentence=f"text {(s * takes + take) % sentences}", content=f"{corpus}{s}{emotion}{take}")
        for s in range(1, speakers + 1)
        for emotion in EMOTIONS
        for take in range(takes)
    ]  # fmt: skip


CLIPS = voices("one", 9) + voices("two", 6)
ACTORS = voices("ravdess", 24)


def split(name: str, clips: Sequence[Clip], **args: Any) -> Split:
    return cast(Split, parts.entry("protocols", name)(clips, **args))


def splits(name: str, clips: Sequence[Clip], **args: Any) -> tuple[tuple[int, ...], ...]:
    made = split(name, clips, **args)
    return tuple(tuple(made.indices(split_name).tolist()) for split_name in SPLITS)


def by_id(name: str, clips: Sequence[Clip], **args: Any) -> list[set[tuple[str, str]]]:
    """The splits as (corpus, id)."""
    return [{(clips[i].corpus, clips[i].id) for i in split_name} for split_name in splits(name, clips, **args)]


def all_folds(name: str, clips: Sequence[Clip], **args: Any) -> list[Split]:
    """The splits of fold 0, 1, … up to the first number that is refused; one split where the protocol has no folds."""
    if "fold" not in parts.arguments("protocols", name).model_fields:
        return [split(name, clips, **args)]
    made: list[Split] = []
    while True:
        try:
            made.append(split(name, clips, fold=len(made), **args))
        except UserError as error:
            if not made or not str(error).startswith(f"protocol.fold: {len(made)} is not one of"):
                raise
            return made


def refusal(name: str, clips: Sequence[Clip], **args: Any) -> str:
    """What the settings, or else the protocol itself, say to these arguments."""
    overrides = [f"protocol={name}", *(f"protocol.{key}={value}" for key, value in args.items())]
    with pytest.raises(UserError) as caught:
        split(name, clips, **settings.load("resnet_aug", overrides).protocol.args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def splits_by(made: Split, clips: Sequence[Clip], key: Callable[[Clip], Hashable]) -> dict[Hashable, set[str]]:
    """Key → the splits that have clips with this key."""
    where = defaultdict(set)
    for split_name in SPLITS:
        for i in made.indices(split_name):
            where[key(clips[i])].add(split_name)
    return where


def broken(made: Split, clips: Sequence[Clip], field: str) -> list[Hashable]:
    """Values of a field in the test split and in another one; a sentence is one within its corpus."""

    def key(clip: Clip) -> Hashable:
        value = getattr(clip, field)
        return (clip.corpus, value) if field == "sentence" and value else value

    return [
        value for value, where in splits_by(made, clips, key).items() if value and "test" in where and len(where) > 1
    ]


def with_duplicates(clips: Sequence[Clip], pairs: Iterable[tuple[int, int]]) -> list[Clip]:
    """Each pair's second clip gets the first one's audio, whoever speaks it."""
    clips = list(clips)
    for a, b in pairs:
        clips[b] = replace(clips[b], content=clips[a].content)
    return clips


def values(made: Split, split_name: str, clips: list[Clip], field: str) -> set[str]:
    return {getattr(clips[i], field) for i in made.indices(split_name)}

"""Trained on some corpora, tested on others: unseen speakers, rooms, microphones, and often another language.

Only emotions that every trained and tested corpus has are kept, since no model can be tested on an emotion that it was not
trained on. Clips of other emotions are in no split. The validation split is whole speakers of the training corpora. So the
epoch is chosen on corpora that were trained on, never on the tested one.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError, nearest
from emotion_lightning.protocols import Seed, Split
from emotion_lightning.protocols._pool import Count, Pool, recording, require, speaker

DISJOINT = ("corpus", "speaker")


def _one_or_more(value: object) -> object:
    """Reads `test: savee` as `test: [savee]`."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Corpora = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]


def count_folds(clips: Sequence[Clip], *, test: Corpora = (), **settings: object) -> int:
    """Returns the number of corpora, of which each is tested in one fold.

    Raises: UserError where `test` names some.
    """
    if test:
        raise UserError("protocol.test: these corpora alone are tested; leave it out to test each corpus in turn")
    return len({clip.corpus for clip in clips})


def split(
    clips: Sequence[Clip],
    *,
    fold: int = 0,
    test: Corpora = (),
    train: Corpora = (),
    split_seed: Seed = 0,
    val_folds: Count = 6,
) -> Split:
    """Tests on one corpus, number `fold` in the order of names, from 0; `test` names one or more instead and has precedence.

    `train` names the corpora to train on, by default all others. One part in `val_folds` of their speakers is for validation.
    """
    require(clips, "speaker", "cross_corpus")
    tested, trained = _corpora(sorted({clip.corpus for clip in clips}), fold, test, train)
    emotions = [{clip.emotion for clip in clips if clip.corpus == corpus} for corpus in (*tested, *trained)]
    if len(common := set.intersection(*emotions)) < 2:
        raise UserError(
            f"protocol.test: {', '.join(tested)} and {', '.join(trained)} have fewer than two emotions in common; "
            'SET="emotions.calm=neutral" gives one the name of another, for example'
        )
    pool = Pool.from_clips(
        clips,
        [speaker, recording],
        "speakers",
        keep=lambda clip: clip.corpus in (*tested, *trained) and clip.emotion in common,
    )
    is_tested = np.array([clip.corpus in tested for clip in pool.clips])
    _refuse_shared(pool.clips, tested)
    return pool.hold_out(np.flatnonzero(is_tested), val_folds, split_seed)


def _refuse_shared(clips: Sequence[Clip], tested: Sequence[str]) -> None:
    """Raises UserError where a tested and a trained corpus share a recording or a speaker."""
    for field, noun in (("content", "recording"), ("speaker", "speaker")):
        of_tested = {getattr(clip, field): clip for clip in reversed(clips) if clip.corpus in tested}
        for clip in clips:
            value = getattr(clip, field)
            if clip.corpus not in tested and value and value in of_tested:
                pair = (
                    f"{of_tested[value].corpus}/{of_tested[value].id}, which is tested, and {clip.corpus}/{clip.id}"
                )
                raise UserError(f"protocol.test: one {noun} is in a tested and in a training corpus: {pair}")


def _corpora(names: list[str], fold: int, test: Sequence[str], train: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the corpora to test on and those to train on."""
    if len(names) < 2:
        raise UserError(f"protocol.name: cross_corpus needs two corpora at least, and there is {names[0]} alone")
    for setting, given in (("test", test), ("train", train)):
        for name in given:
            if name not in names:
                raise UserError(f"protocol.{setting}: there is no clip of a corpus '{name}'{nearest(name, names)}")
    if not test and not 0 <= fold < len(names):
        raise UserError(f"protocol.fold: {fold} is not one of the corpora 0…{len(names) - 1} ({', '.join(names)})")
    tested = sorted(set(test)) or [names[fold]]
    if overlap := set(tested) & set(train):
        raise UserError(f"protocol.train: {min(overlap)} is tested, it cannot be trained on")
    trained = sorted(set(train)) or [name for name in names if name not in tested]
    if not trained:
        raise UserError("protocol.test: every corpus is tested, none is left to train on")
    return tested, trained

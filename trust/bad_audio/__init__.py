"""Damaged sound files: each is read right or refused with a reason, by the decoder, predict, the cache, the server and the app.

What must become of a file is known from the samples that were written and from the layout of its header
(damaged_sounds.py); lengths are also compared with those of ffmpeg. Everything runs in a process of its own, so that a crash,
a hang or a lack of memory in a library is a fault of one file and not the end of the suite.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.timing import run_ours
from emotion_lightning.serving import package
from trust.bad_audio.command import folder_row, names_row
from trust.bad_audio.damaged_sounds import Sounds
from trust.bad_audio.long_files import hours
from trust.bad_audio.one_by_one import Decoding, Predicting, Showing, one_by_one
from trust.bad_audio.own_corpus import cached
from trust.bad_audio.server import server_row
from trust.experiments import VOICES
from trust.rows import Row, Setting


def rows(setting: Setting) -> Iterator[Row]:
    sounds = Sounds(setting.work / "originals", setting.seed)
    model = _model(setting.work)
    yield one_by_one("the decoder", Decoding, setting.times(5_000, 60), setting)
    yield one_by_one("predict, file by file", partial(Predicting, model), setting.times(5_000, 60), setting)
    yield folder_row(model, sounds, setting.times(600, 40), setting)
    yield names_row(model, sounds, setting)
    yield hours(model, sounds, setting)
    yield one_by_one("the app's answer", partial(Showing, model), setting.times(300, 20), setting)
    yield cached(sounds, setting.times(400, 40), setting)
    yield server_row(model, sounds, setting.times(400, 40), setting)


def _model(work: Path) -> Path:
    """Returns the model package of an SVM that is trained on generated voices."""
    run_ours("-m", "emotion_lightning", "train", "demo_svm", VOICES, cwd=work)
    return next((work / "mlruns").rglob(package.ABOUT)).parent

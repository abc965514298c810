"""A corpus of generated voices (DEMO), so that everything runs in seconds without a download.

Figures on this corpus say nothing about people. It has the file names and folders of RAVDESS and SAVEE and is read by their
readers. It is hard for the same reason: classes overlap, and speakers differ more than emotions do. With an RBF SVM (C 10)
on mean and deviation of 20 MFCC, over seeds 0 to 4, accuracy is 61 to 66 % on five random folds, and 40 to 51 % on five
folds of unseen speakers.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from filelock import FileLock
from torch import Tensor

from emotion_lightning.corpora import About, Clip, Refused, _voice, ravdess, savee
from emotion_lightning.errors import UserError

# The directions follow the vocal-emotion literature: Juslin & Laukka 2003 (doi:10.1037/0033-2909.129.5.770), Scherer
# 2003 (doi:10.1016/S0167-6393(02)00084-5), for disgust and surprise Murray & Arnott 1993 (doi:10.1121/1.405558).
# Anger, fear, joy and surprise are high, fast or loud; sadness and calm (their tenderness) low, slow, soft, breathy.
# We chose the sizes so that the task is about as hard as acted speech. All values are offsets from a speaker's neutral
# voice; one octave of accent, jitter, rate or tract doubles it.
CUES = {
    #             pitch  accent slope  jitter rate   level  tilt    breath tract
    #             semit. octave semit. octave octave dB     dB/oct. dB     octave
    "neutral":   ( 0.0,   0.0,   0.0,   0.0,   0.00,   0.0,   0.0,   0.0,   0.00),
    "calm":      (-1.0,  -0.5,  -0.5,  -0.3,  -0.15,  -3.0,   0.9,   3.0,   0.00),
    "happy":     ( 5.0,   0.8,   2.0,   0.0,   0.12,   5.0,  -1.8,  -0.5,   0.06),  # a smile shortens the tract
    "sad":       (-0.5,  -0.7,  -1.0,   0.5,  -0.30,  -6.0,   1.8,   3.5,  -0.02),
    "angry":     ( 4.0,   0.7,   0.0,   0.7,   0.15,   7.5,  -3.0,  -3.5,   0.02),
    "fearful":   ( 6.0,  -0.2,   1.0,   0.8,   0.25,   1.0,  -0.3,   3.5,   0.02),
    "disgust":   (-1.0,   0.1,  -2.0,   0.6,  -0.25,   0.5,  -0.3,  -1.0,  -0.05),
    "surprised": ( 6.0,   1.0,   6.0,   0.1,   0.05,   3.0,  -1.2,   1.0,   0.04),
}  # fmt: skip
NEUTRAL = (120, 2.0, -4.0, 0.008, 5.0, -29.0, 9.0, -28.0, 1.0)  # a man's voice, in the units of Voice
DOUBLING = (12, 1, 0, 1, 1, 0, 0, 0, 1)  # the offset that doubles a field; 0 if offsets are added
WOMAN = (10.0, 0.0, 0.0, 0.0, 0.00, -1.0, 0.5, 2.0, 0.23)  # pitch and tract: Hillenbrand et al. 1995
# Standard deviations between speakers, between emotions of one speaker, between clips, and of how strongly speakers act.
SPEAKER = (2.0, 0.3, 1.0, 0.3, 0.08, 2.5, 1.0, 2.5, 0.05)
HABIT = (0.8, 0.15, 0.5, 0.15, 0.05, 1.2, 0.45, 1.2, 0.015)
CLIP = (0.5, 0.1, 0.4, 0.1, 0.04, 0.6, 0.25, 0.6, 0.006)
ACTING = 0.25  # octaves

RAVDESS_TEXTS = {"01": "kɪ ɑ tɔ kɪ bɑɪ ðʌ dɔ", "02": "dɔ ɑ sɪ tɪ bɑɪ ðʌ dɔ"}  # Kids are talking, Dogs are sitting …
SAVEE_TEXTS = ("si æ dɑ su wɔ tɝ", "doʊ æ mi tu kæ ɔɪ", "ðɛ bi bɔ mu kɑ sɪ", "wi kʊ fɑ sʌ fu ðɛ")
BATCH = 16  # clips at once: faster than 32 or 64, and 140 MB at most

ABOUT = About(
    title="DEMO (generated voices)",
    licence="generated, no rights",
    citation="none: made by corpora/demo.py, see its header",
    how_to_get="no download, the first run makes it",
)  # no official counts: the numbers depend on `speakers` and `takes`


class Utterance(NamedTuple):
    """One clip to make."""

    file: str  # below the corpus's folder
    speaker: int
    female: bool
    emotion: str
    text: str


def prepare(cache: Path, *, speakers: int = 12, takes: int = 2, seed: int = 0) -> Path:
    """Makes the corpus if it is missing, and returns its folder.

    It has `speakers` RAVDESS actors and the four of SAVEE, with 16 × `takes` clips each.

    Raises:
        UserError: `speakers` is not 1 to 24, or `takes` not 1 or 2.
    """
    if not (1 <= speakers <= 24 and 1 <= takes <= 2):
        raise UserError(f"demo: speakers={speakers} must be 1 to 24, and takes={takes} must be 1 or 2")
    folder = cache / f"demo-{_digest(speakers=speakers, takes=takes, seed=seed)}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():  # another process may have made it while this one waited for the lock
            part = folder.with_name(folder.name + ".part")
            if part.exists():  # left by a process that was killed
                shutil.rmtree(part)
            with _one_thread():
                _write(part, _plan(speakers, takes), torch.Generator().manual_seed(seed))
            part.replace(folder)
    return folder


def read(folder: Path, *, speakers: int = 12, takes: int = 2, seed: int = 0) -> Iterator[Clip | Refused]:
    """Yields the clips below a folder. The settings are used by `prepare`; here they only declare the YAML keys."""
    for reader in (ravdess, savee):
        for item in reader.read(folder / reader.__name__.rpartition(".")[2]):
            if isinstance(item, Clip):
                item = replace(item, corpus="demo", speaker=f"DEMO-{item.speaker}", id=f"DEMO-{item.id}")
            yield item


def _digest(**settings: int) -> str:
    """Returns a digest of the settings and the code, so that a change of the code makes new voices."""
    text = json.dumps(settings, sort_keys=True).encode()
    sources = (Path(__file__).read_bytes(), Path(_voice.__file__).read_bytes())
    return hashlib.sha256(b"\0".join((text, *sources))).hexdigest()[:12]


def _plan(speakers: int, takes: int) -> list[Utterance]:
    """Lists all clips, speaker by speaker. Actors with odd numbers are men, as in RAVDESS, and SAVEE's four are men."""
    plan = []
    for actor in range(1, speakers + 1):
        for code, emotion in ravdess.EMOTION.items():
            for sentence, text in RAVDESS_TEXTS.items():
                for take in range(1, takes + 1):
                    file = f"ravdess/Actor_{actor:02}/03-01-{code}-01-{sentence}-{take:02}-{actor:02}.wav"
                    plan.append(Utterance(file, actor - 1, actor % 2 == 0, emotion, text))
    for index, name in enumerate(savee.SPEAKERS):
        for code, emotion in savee.EMOTION.items():
            for number in range(takes * (4 if emotion == "neutral" else 2)):  # SAVEE has twice as many neutral clips
                text = SAVEE_TEXTS[number % len(SAVEE_TEXTS)]
                file = f"savee/ALL/{name}_{code}{number + 1:02}.wav"
                plan.append(Utterance(file, speakers + index, False, emotion, text))
    return plan


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limits torch to one thread: 512 clips took 4 to 6 s on one thread, but 7 to 32 s on two threads of a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write(folder: Path, plan: list[Utterance], generator: torch.Generator) -> None:
    voices = _voices(plan, generator)
    for start in range(0, len(plan), BATCH):
        batch = plan[start : start + BATCH]
        voice = _voice.Voice(*(field[start : start + BATCH] for field in voices))
        waves, lengths = _voice.speak(voice, [u.text for u in batch], generator)
        for utterance, wave, length in zip(batch, waves, lengths.tolist(), strict=True):
            path = folder / utterance.file
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, wave[:length].numpy(), _voice.RATE, subtype="PCM_16")


def _voices(plan: list[Utterance], generator: torch.Generator) -> list[Tensor]:
    """Draws the fields of `Voice`, each (N,), in the order of the columns of CUES."""
    speaker = torch.tensor([u.speaker for u in plan])
    emotion = torch.tensor([list(CUES).index(u.emotion) for u in plan])
    female = torch.tensor([float(u.female) for u in plan])[:, None]
    cues = torch.tensor(list(CUES.values()))  # (8, 9)

    def spread(deviations: tuple[float, ...], *shape: int) -> Tensor:
        return torch.randn(*shape, len(deviations), generator=generator) * torch.tensor(deviations)

    people = int(speaker.max()) + 1
    own = spread(SPEAKER, people)[speaker] + spread(HABIT, people, len(CUES))[speaker, emotion]
    acted = cues[emotion] * 2 ** spread((ACTING,), people)[speaker]
    offsets = female * torch.tensor(WOMAN) + own + acted + spread(CLIP, len(plan))  # (N, 9)
    return [n * 2 ** (x / d) if d else n + x for n, d, x in zip(NEUTRAL, DOUBLING, offsets.unbind(1), strict=True)]

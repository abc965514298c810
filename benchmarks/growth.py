"""The manifest, the cache and the loader at 2 000, 20 000 and 200 000 clips, DEMO tones in a CSV table.

The files are links to 2 000 tones of half a second: each is listed, decoded and cached as a clip of its own, but all lie in the
system's memory, so this measures us and not the disk.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.timing import Row, Setting, ours
from emotion_lightning.corpora import EMOTIONS

SIZES = (2_000, 20_000, 200_000)
RATE, SECONDS, DISTINCT = 16_000, 0.5, 2_000
MEMORY = """
import threading, time

class Memory(threading.Thread):
    'The most memory of its own that the process has had since now, and the most pages of files, in GB.'

    def __init__(self):
        super().__init__(daemon=True)
        self.before, self.most, self.over = self.now(), (0, 0), False
        self.start()

    def now(self):
        lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Rss"))
        return tuple(int(lines[name].split()[0]) * 1024 / 1e9 for name in ("RssAnon", "RssFile"))

    def run(self):
        while not self.over:
            self.most = tuple(map(max, self.most, self.now()))
            time.sleep(0.02)

    def told(self):
        self.over = True
        self.join()
        own, mapped = (most - before for most, before in zip(self.most, self.before))
        return {"own": own, "mapped": mapped}

"""
TRAINING = """
import json
import torch
import emotion_lightning.train
from emotion_lightning.config import loader as settings
from emotion_lightning.data.datamodule import EmotionData

memory, start = Memory(), time.perf_counter()
data = EmotionData(settings.load("growth.yaml"))
data.setup()
opened = time.perf_counter() - start
loader = data.loader(data.split.train, shuffled=True)
figures = []
for epoch in range(2):
    loader.sampler.set_epoch(epoch)
    start = time.perf_counter()
    first = data.gather(next(iter(loader)), torch.device("cpu"))
    figures.append(time.perf_counter() - start)
for rows in loader:
    data.gather(rows, torch.device("cpu"))
print(json.dumps({"opened": opened, "epoch": figures[1], **memory.told()}))
"""
CACHE = """
import json
from pathlib import Path
import emotion_lightning.train
from emotion_lightning.data import cache
from emotion_lightning.config import parts
from emotion_lightning.config import loader as settings
from emotion_lightning.corpora import open_corpus

experiment = settings.load("growth.yaml")
memory, start = Memory(), time.perf_counter()
corpus = open_corpus("table", {"path": "clips.csv"}, Path("."), Path("cache"))
manifest = time.perf_counter()
plain = lambda items, *_: items
waves = cache.waves(corpus.clips, experiment.audio, Path("cache"), plain)
args = experiment.features.args
cache.features(waves, parts.entry("features", "mfcc")(16_000, **args), "mfcc", args, Path("cache"), plain)
done = time.perf_counter()
print(json.dumps({"manifest": manifest - start, "cache": done - manifest, **memory.told()}))
"""
SETTINGS = """
corpora: {table: {path: clips.csv}}
protocol: {name: speaker_folds}
audio: {trim_db: null}
features: {name: mfcc, frames: 64}
model: {name: small_cnn}
data: {cache: cache}
"""


def rows(setting: Setting) -> Iterator[Row]:
    built, opened, training = {}, {}, {}
    for size in SIZES:
        folder = setting.work / str(size)
        folder.mkdir()
        write_clips(folder, size)
        built[size] = measured(CACHE, folder)
        opened[size] = measured(CACHE, folder)
        training[size] = measured(TRAINING, folder)
        shutil.rmtree(folder)
    middle = a_clip(built[SIZES[1]], SIZES[1])
    for size in SIZES:
        what = f"{size} clips: "
        ratio = a_clip(built[size], size), middle
        if size != SIZES[1]:
            beside = f"{SIZES[1]} clips"
            yield Row(f"{what}build, a clip", ratio[:1], "ms", ratio[1:], beside, goal=1.2, guard=1.5, at_most=True)
        yield Row(f"{what}opening the cache", [opened[size]["cache"]], "s", goal=1, at_most=True)
        yield Row(f"{what}reading the table of files", [opened[size]["manifest"]], "s")
        yield Row(f"{what}table, cache and split, ready to train", [training[size]["opened"]], "s")
        yield Row(f"{what}start of an epoch, first batch", [training[size]["epoch"]], "s", goal=2, at_most=True)
        for when, memory in (("building", built), ("training", training)):
            yield Row(f"{what}memory {when}, beside the imports", [memory[size]["own"]], "GB", goal=1.5, at_most=True)
            yield Row(f"{what}pages of the cache {when}", [memory[size]["mapped"]], "GB")


def a_clip(seconds: dict[str, float], size: int) -> float:
    """Milliseconds to list, decode and cache one."""
    return 1e3 * (seconds["manifest"] + seconds["cache"]) / size


def measured(code: str, folder: Path) -> dict[str, float]:
    said = ours("-c", MEMORY + code, cwd=folder)
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def write_clips(folder: Path, size: int) -> None:
    """`size` names of tones, 100 clips a speaker."""
    tones = folder.parent / "tones"
    if not tones.exists():
        tones.mkdir()
        time = np.arange(round(RATE * SECONDS)) / RATE
        for number in range(DISTINCT):
            wave = 0.3 * np.sin(2 * np.pi * (100 + number) * time).astype(np.float32)
            soundfile.write(tones / f"{number}.wav", wave, RATE)
    (folder / "growth.yaml").write_text(SETTINGS)
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "emotion", "speaker"))
        for number in range(size):
            name = f"clips/{number // 1000}/{number}.wav"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(tones / f"{number % DISTINCT}.wav", folder / name)
            table.writerow((name, EMOTIONS[number % 8], f"s{number // 100}"))

"""The manifest, the cache and the loader at 2 000, 20 000 and 200 000 clips, DEMO tones in a CSV table.

The files are links to 2 000 tones of half a second. Each is listed, decoded and cached as a separate clip, but all are in
the system's memory, so this measures our code and not the disk.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.timing import Row, Setting, run_ours
from emotion_lightning.corpora import EMOTIONS

SIZES = (2_000, 20_000, 200_000)
RATE, SECONDS, DISTINCT = 16_000, 0.5, 2_000
MEMORY = """
import threading, time

class Memory(threading.Thread):
    'Measures from its creation the peak growth of the memory of the process and of its mapped files, in GB.'

    def __init__(self):
        super().__init__(daemon=True)
        self.before, self.peak, self.stopped = self.now(), (0, 0), False
        self.start()

    def now(self):
        lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Rss"))
        return tuple(int(lines[name].split()[0]) * 1024 / 1e9 for name in ("RssAnon", "RssFile"))

    def run(self):
        while not self.stopped:
            self.peak = tuple(map(max, self.peak, self.now()))
            time.sleep(0.02)

    def stop(self):
        self.stopped = True
        self.join()
        own, mapped = (peak - before for peak, before in zip(self.peak, self.before))
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
print(json.dumps({"opened": opened, "epoch": figures[1], **memory.stop()}))
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
print(json.dumps({"manifest": manifest - start, "cache": done - manifest, **memory.stop()}))
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
        built[size] = measure(CACHE, folder)
        opened[size] = measure(CACHE, folder)  # the same code, but the cache is there now
        training[size] = measure(TRAINING, folder)
        shutil.rmtree(folder)
    middle = milliseconds_per_clip(built[SIZES[1]], SIZES[1])
    for size in SIZES:
        cost = milliseconds_per_clip(built[size], size)
        if size != SIZES[1]:
            yield Row(
                f"{size} clips: build, per clip",
                [cost],
                "ms",
                [middle],
                f"{SIZES[1]} clips",
                goal=1.2,
                guard=1.5,
                at_most=True,
            )
        yield Row(f"{size} clips: opening the cache", [opened[size]["cache"]], "s", goal=1, at_most=True)
        yield Row(f"{size} clips: reading the table of files", [opened[size]["manifest"]], "s")
        yield Row(f"{size} clips: table, cache and split, ready to train", [training[size]["opened"]], "s")
        yield Row(
            f"{size} clips: start of an epoch, first batch", [training[size]["epoch"]], "s", goal=2, at_most=True
        )
        for when, memory in (("building", built), ("training", training)):
            yield Row(
                f"{size} clips: memory {when}, beyond the imports",
                [memory[size]["own"]],
                "GB",
                goal=1.5,
                at_most=True,
            )
            yield Row(f"{size} clips: pages of the cache {when}", [memory[size]["mapped"]], "GB")


def milliseconds_per_clip(seconds: dict[str, float], size: int) -> float:
    """Returns the milliseconds to list, decode and cache one clip."""
    return 1e3 * (seconds["manifest"] + seconds["cache"]) / size


def measure(code: str, folder: Path) -> dict[str, float]:
    """Runs `code` in a process in `folder`, and returns the figures that it prints: seconds, and memory in GB."""
    output = run_ours("-c", MEMORY + code, cwd=folder)
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def write_clips(folder: Path, size: int) -> None:
    """Writes `size` links to tones and their table, with 100 clips per speaker."""
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

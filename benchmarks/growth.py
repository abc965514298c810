"""The manifest, the cache and the loader at 2 000, 20 000 and 200 000 clips, DEMO tones in a CSV table.

The files are links to 2 000 tones of half a second: each is listed, decoded and cached as a clip of its own, but all lie in the
system's memory, so this measures us and not the disk.
"""

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.timing import Row, Setting, run
from emotion_lightning.corpora import EMOTIONS

SIZES = (2_000, 20_000, 200_000)
RATE, SECONDS, DISTINCT = 16_000, 0.5, 2_000
REPOSITORY = Path(__file__).parent.parent
PHASES = """
import json, resource, sys, time
from rich.console import Console
from emotion_lightning import learn, settings
from emotion_lightning.data import EmotionData
import emotion_lightning.train, torch

def memory():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e9

before, start = memory(), time.perf_counter()
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
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
print(json.dumps({"opened": opened, "epoch": figures[1], "peak": peak - before}))
"""
CACHE = """
import json, sys, time
from pathlib import Path
from emotion_lightning import cache, parts
from emotion_lightning.corpora import open_corpus
from emotion_lightning.experiment import Audio
import emotion_lightning.data

start = time.perf_counter()
corpus = open_corpus("table", {"path": "clips.csv"}, Path("."), Path("cache"))
manifest = time.perf_counter()
plain = lambda items, *_: items
waves = cache.waves(corpus.clips, Audio(trim_db=None), Path("cache"), plain)
decoded = time.perf_counter()
feature = parts.entry("features", "mfcc")(16_000, frames=64)
cache.features(waves, feature, "mfcc", {"frames": 64}, Path("cache"), plain)
done = time.perf_counter()
print(json.dumps({"manifest": manifest - start, "waves": decoded - manifest, "features": done - decoded}))
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
    built, opened, last = {}, {}, {}
    for size in SIZES:
        folder = setting.work / str(size)
        folder.mkdir()
        write_clips(folder, size)
        built[size] = measured(CACHE, folder)
        opened[size] = measured(CACHE, folder)
        last[size] = measured(PHASES, folder)
    for size in SIZES:
        a_clip = 1e3 * sum(built[size].values()) / size
        smallest = 1e3 * sum(built[SIZES[1]].values()) / SIZES[1]
        yield Row(
            f"{size} clips: build, ms a clip",
            [a_clip],
            "ms",
            [smallest],
            f"{SIZES[1]} clips",
            1.2,
            None,
            at_most=True,
        )
        opening = opened[size]["waves"] + opened[size]["features"]
        yield Row(f"{size} clips: opening the cache", [opening], "s", goal=1, at_most=True)
        yield Row(f"{size} clips: reading the table of files", [opened[size]["manifest"]], "s")
        yield Row(f"{size} clips: table, cache and split, ready to train", [last[size]["opened"]], "s")
        yield Row(f"{size} clips: start of an epoch, first batch", [last[size]["epoch"]], "s", goal=2, at_most=True)
        yield Row(f"{size} clips: peak memory beside the imports", [last[size]["peak"]], "GB", goal=1.5, at_most=True)


def measured(code: str, folder: Path) -> dict[str, float]:
    said = run(sys.executable, "-c", code, cwd=folder, PYTHONPATH=str(REPOSITORY))
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

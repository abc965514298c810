"""Two figures of docs/results.md, for a quiet machine: `.venv/bin/python tests/bench_cache_and_start.py <corpora>`.

Clips a second from sound files to cached waveforms and pictures, into an empty folder, three times; and, interleaved, the
time until `train resnet_aug_small` has taken its first step with a warm cache against that of importing its libraries.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emotion_lightning import cache, parts
from emotion_lightning.corpora import open_corpus
from emotion_lightning.experiment import Audio

IMPORTS = "import torch, lightning, timm, mlflow"
FIRST_STEP = """
import os, sys
import emotion_lightning.callbacks as callbacks
from emotion_lightning.cli import main
callbacks.EpochRecord.on_train_batch_end = lambda *_: os._exit(7)
sys.argv = ["emotion-lightning", "train", "resnet_aug_small", "--data", sys.argv[1]]
main()
"""


def clips_a_second(data: Path) -> float:
    feature = parts.entry("features", "picture")(16_000)
    with tempfile.TemporaryDirectory() as folder:
        start, clips = time.perf_counter(), 0
        for name in ("ravdess", "savee"):
            corpus = open_corpus(name, {}, data, Path(folder))
            waves = cache.waves(corpus.clips, Audio(), Path(folder), lambda items, *_: items)
            cache.features(waves, feature, "picture", {}, Path(folder), lambda items, *_: items)
            clips += len(corpus.clips)
        return clips / (time.perf_counter() - start)


def seconds(code: str, data: Path, status: int) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, str(data)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return time.perf_counter() - start


if __name__ == "__main__":
    corpora = Path(sys.argv[1])
    print("clips/s", [round(clips_a_second(corpora)) for _ in range(3)])
    print("peak GB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
    seconds(FIRST_STEP, corpora, 7)  # fills the cache
    pairs = [(seconds(IMPORTS, corpora, 0), seconds(FIRST_STEP, corpora, 7)) for _ in range(4)]
    imports, first = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"imports {imports:.2f} s, first step {first:.2f} s, ratio {first / imports:.2f}")

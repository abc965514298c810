"""The cache is made once, whole or not at all, when a process is killed and when several build it."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from cached import both, clip, files, make_clips

from emotion_lightning.corpora import Clip

ROOT = Path(__file__).parents[1]


def test_what_a_killed_build_left_is_not_taken_over(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips")
    both(clips, tmp_path / "whole")
    want = files(tmp_path / "whole")
    for place in {Path(name).parts[0] for name in want}:
        part = tmp_path / "cache" / f".{place}.part"
        part.mkdir(parents=True)
        for name in ("samples.i16", "index.npz", "features.npy", "leftover"):
            (part / name).write_bytes(b"half")
    both(clips, tmp_path / "cache")
    got = files(tmp_path / "cache")
    assert {name: content for name, (*_, content) in got.items()} == {n: content for n, (*_, content) in want.items()}


# Other processes: they say on standard output what they build, wait for `go`, and stop for ever at a given step.
OTHER = """
import sys, time
from pathlib import Path
from emotion_lightning.data import cache
from emotion_lightning.config import parts
from emotion_lightning.corpora import Clip
from emotion_lightning.config.schema import Audio

folder, go, stall, *paths = sys.argv[1:]

def track(items, what, count):
    print("build", what, flush=True)
    for number, item in enumerate(items):
        if what == stall and number == 2:
            print("stalled", flush=True)
            time.sleep(600)
        yield item

clips = [Clip(Path(p).stem, Path(p), "toy", "happy", "toy-1") for p in paths]
feature = parts.entry("features", "log_mel")(16_000)
print("ready", flush=True)
while not Path(go).exists():
    time.sleep(0.005)
waves = cache.waves(clips, Audio(), Path(folder), track)
found = cache.features(waves, feature, "log_mel", {}, Path(folder), track)
print("sums", waves.key, found.key, found.values.double().sum().item(), waves.batch(range(len(clips)))[0].sum().item())
"""


def other_process(clips: Sequence[Clip], folder: Path, go: Path, stall: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", OTHER, str(folder), str(go), stall, *(str(c.path) for c in clips)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


def wait_for(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout
    for line in process.stdout:  # ends with the process
        if line.startswith(word):
            return
    raise AssertionError(f"the process ended before it was {word}")


@pytest.mark.parametrize("step", ["decoding", "features"])
def test_a_build_killed_midway_leaves_nothing_half_valid(step: str, tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips")
    (tmp_path / "go").touch()
    process = other_process(clips, tmp_path / "cache", tmp_path / "go", stall=step)
    try:
        wait_for(process, "stalled")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    visible = [f.name.partition("-")[0] for f in (tmp_path / "cache").iterdir() if not f.name.startswith(".")]
    assert visible == ([] if step == "decoding" else ["waves"])
    assert any(f.name.endswith(".part") for f in (tmp_path / "cache").iterdir())
    start = time.monotonic()
    waves, found = both(clips, tmp_path / "cache")
    assert time.monotonic() - start < 30  # no lock is left
    want_waves, want = both(clips, tmp_path / "whole")
    torch.testing.assert_close(found.values, want.values, atol=0, rtol=0)
    torch.testing.assert_close(waves.batch(range(5)), want_waves.batch(range(5)), atol=0, rtol=0)
    assert not any(f.name.endswith(".part") for f in (tmp_path / "cache").iterdir())


def test_four_processes_at_once_build_one_cache(demo_data: Path, tmp_path: Path) -> None:
    clips = [clip(path) for path in sorted(demo_data.glob("demo-*/ravdess/*/*.wav"))]
    assert len(clips) == 64
    clips = clips[::8]
    processes = [other_process(clips, tmp_path / "cache", tmp_path / "go") for _ in range(4)]
    try:
        for process in processes:
            wait_for(process, "ready")
        (tmp_path / "go").touch()
        lines = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert Counter(line for said in lines for line in said if line.startswith("build")) == {
        "build decoding": 1,
        "build features": 1,
    }
    assert len({said[-1] for said in lines}) == 1
    assert lines[0][-1].startswith("sums")
    assert len([f for f in (tmp_path / "cache").iterdir() if f.is_dir()]) == 2

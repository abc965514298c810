"""A trained model at work, on generated voices: files of a folder, batches over HTTP, and many clients at once.

The training path is what a run does with the same files and an empty cache: decode, features, probabilities.
"""

import base64
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

from benchmarks.timing import REPOSITORY, Row, Setting, in_turns, run_ours, seconds
from emotion_lightning.config import loader
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.serving import package
from emotion_lightning.serving.pyfunc import PackagedModel
from emotion_lightning.serving.recogniser import Recogniser
from emotion_lightning.training.inference import probabilities

CASES = {"SVM on MFCC": "demo_svm", "small ResNet on pictures": "demo"}
PORT, CLIENTS, LOAD_SECONDS = 5987, 64, 60
ADDRESS = f"http://127.0.0.1:{PORT}"


def rows(setting: Setting) -> Iterator[Row]:
    for case, name in CASES.items():
        printed = run_ours("-m", "emotion_lightning", "train", name, cwd=setting.work)
        found = re.search(r"run (\w{8}) ", printed)
        assert found, printed
        newest = max((setting.work / "mlruns").rglob(package.ABOUT), key=lambda file: file.stat().st_mtime).parent
        model, files = package.read(newest), sorted((setting.work / ".cache").glob("demo-*/**/*.wav"))
        ours, theirs = in_turns(
            setting.rounds,
            partial(_folder, model, files),
            partial(_training_path, model, files, name, setting.work),
        )
        yield Row(f"{case}: files of a folder", ours, "clips/s", theirs, "training path", goal=0.9)
        with _served(setting.work, found[1]):
            yield from _over_http(case, model, files, setting.rounds)


def _folder(model: Recogniser, files: list[Path]) -> float:
    """Returns the clips per second of `make predict` with a folder."""
    return len(files) / seconds(lambda: list(model.files(files)))


def _training_path(model: Recogniser, files: list[Path], name: str, folder: Path) -> float:
    """Returns the clips per second that a run needs from the same files, with an empty cache, to probabilities."""
    cache = Path(mkdtemp(dir=folder))
    for corpus in (folder / ".cache").glob("demo-*"):
        (cache / corpus.name).symlink_to(corpus)
    data = EmotionData(loader.load(name, [f"data.cache={cache}", "fit.precision=32"]))

    def run() -> None:
        data.setup()
        probabilities(model.model.classifier, data, np.arange(len(data.clips)))

    try:
        return len(files) / seconds(run)
    finally:
        shutil.rmtree(cache)


@contextmanager
def _served(folder: Path, run: str) -> Iterator[None]:
    """Serves the model of a run while the block runs."""
    command = [sys.executable, "-m", "emotion_lightning", "serve", "--run", run, "--port", str(PORT)]
    with subprocess.Popen(command, cwd=folder, env=_environment(), stdout=subprocess.DEVNULL) as server:
        try:
            while server.poll() is None:
                with suppress(OSError), urllib.request.urlopen(f"{ADDRESS}/ping", timeout=1):
                    break
                time.sleep(0.2)
            yield
        finally:
            server.terminate()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": ""}


def _over_http(case: str, model: Recogniser, files: list[Path], rounds: int) -> Iterator[Row]:
    batch = files[:64]
    body = _body(batch)
    records, answers = json.loads(body)["dataframe_records"], PackagedModel()
    answers.recogniser = model
    served, rows, predicted = in_turns(
        rounds,
        lambda: len(batch) / seconds(lambda: _post(body)),
        lambda: len(batch) / seconds(lambda: answers.predict(None, pd.DataFrame(records))),
        partial(_folder, model, batch),
    )
    yield Row(f"{case}: 64 clips in a request", served, "clips/s", rows, "the rows in process", goal=0.8)
    yield Row(f"{case}: 64 clips in a request", served, "clips/s", predicted, "their files in process")
    latencies: list[float] = []
    end = time.monotonic() + LOAD_SECONDS
    single = _body(files[:1])

    def client(_: int) -> None:
        while time.monotonic() < end:
            latencies.append(1000 * seconds(lambda: _post(single)))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    cuts = statistics.quantiles(latencies, n=100)
    yield Row(f"{case}: {CLIENTS} clients for {LOAD_SECONDS} s", [len(latencies) / LOAD_SECONDS], "requests/s")
    for share in (50, 95, 99):
        yield Row(f"{case}: p{share} of a request", [cuts[share - 1]], "ms")


def _body(files: list[Path]) -> bytes:
    rows = [{"audio": base64.b64encode(file.read_bytes()).decode()} for file in files]
    return json.dumps({"dataframe_records": rows}).encode()


def _post(body: bytes) -> None:
    """Raises: urllib.error.HTTPError for any status but 200."""
    request = urllib.request.Request(f"{ADDRESS}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        json.load(answer)

"""What several test files share. Nothing of the real corpora is ever copied."""

import os

# Before torch is imported: two processes with two threads each take four times as long on two cores (24 s for 104 s).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import file_server
import numpy as np
import pytest
import soundfile
from processes import copy_ready_store
from rich.console import Console

from emotion_lightning import http_file
from emotion_lightning.cli import main
from emotion_lightning.config import loader, parts
from emotion_lightning.corpora import demo
from emotion_lightning.predict import open_model
from emotion_lightning.serving.recogniser import Recogniser
from emotion_lightning.tracking import shutdown, store
from emotion_lightning.train import train
from emotion_lightning.training.evaluation import RunResult

REAL = Path(__file__).parents[2] / "shared" / "corpora"
DEMO = {"speakers": 4, "takes": 1}  # 64 clips in RAVDESS's names, 64 in SAVEE's


NEEDED = {
    "joined": {
        "of": {"log_mel": {}, "mfcc": {"frames": 400, "hop": 128}, "prosody": {"frames": 400, "hop": 128}},
    }
}
"""Settings of features that have no default for one of them."""


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder (`data.cache`) in which the demo corpus with speakers=4, takes=1 is made already."""
    cache = tmp_path_factory.mktemp("demo_cache")
    demo.prepare(cache, **DEMO)
    return cache


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory for all tests of a file, with an empty store, since making a fresh one takes seconds."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("workplace")
    copy_ready_store(folder)
    os.chdir(folder)
    store.connect()
    yield folder
    os.chdir(before)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 48 clips in RAVDESS's names and 28 in SAVEE's, and the cache; to be left as it is."""
    import noise_corpora  # which imports this file

    folder = tmp_path_factory.mktemp("data")
    noise_corpora.make_ravdess(folder)
    noise_corpora.make_savee(folder)
    return folder


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> tuple[Path, dict[str, RunResult]]:
    """A working folder with a finished run of an SVM and one of a network, by their names."""
    folder, results = tmp_path_factory.mktemp("finished_runs"), {}
    settings = ["corpora.demo={speakers: 4, takes: 1}", "protocol.folds=3", f"data.cache={demo_data}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, own in (("svm", []), ("small_cnn", ["fit.stages.large.epochs=1", "fit.stages.large.size=32"])):
            result = train(loader.load(f"demo_{name}", [*settings, *own]), Console(quiet=True))
            assert result
            results[name] = result
    return folder, results


@pytest.fixture
def runs(finished_runs: tuple[Path, dict[str, RunResult]], monkeypatch: pytest.MonkeyPatch) -> dict[str, RunResult]:
    """These runs, in their working folder."""
    monkeypatch.chdir(finished_runs[0])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store.connect()
    return finished_runs[1]


@pytest.fixture(params=["svm", "small_cnn"])
def recogniser(request: pytest.FixtureRequest, runs: dict[str, RunResult]) -> Recogniser:
    """The model of each of these runs."""
    return open_model(runs[request.param].run_id)


@pytest.fixture
def clips(demo_data: Path) -> list[Path]:
    """20 clips of the demo corpus, in RAVDESS's names."""
    return sorted(demo_data.rglob("03-01-*.wav"))[:20]


@pytest.fixture(scope="session")
def real_corpora() -> Path:
    """The folder with ravdess/, savee/ and originals/; tests that read it are skipped where it is not."""
    if not (REAL / "ravdess").is_dir():
        pytest.skip(f"no real corpora at {REAL}")
    return REAL


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[file_server.Server]:
    """A web server that sends one file."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http_file, "BACK_OFF", 0.01)
    with file_server.serving() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def own_store() -> None:
    """Each file starts with mlruns/ of its working folder: a run in this process sets MLFLOW_TRACKING_URI and leaves it so."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def search_folder(in_tmp_path: Path, demo_data: Path) -> Path:
    """The test's own folder as the working directory, with what `searches.prepare` puts there."""
    import searches  # and with it optuna, which few tests need

    os.environ.pop("MLFLOW_TRACKING_URI", None)
    searches.prepare(in_tmp_path, demo_data)
    return in_tmp_path


@pytest.fixture
def only_shipped_parts(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own folder as the working directory, and no parts of one's own."""
    monkeypatch.delenv(parts.ENVIRONMENT, raising=False)


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refusal(folder, "train", "demo", NAME="value")`: the command line in this process, with the folder as working
    directory and these environment variables. Returns all that it printed before it ended with status 2."""

    def refusal(folder: Path, *words: str, **variables: str) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setenv(parts.ENVIRONMENT, "")  # so that monkeypatch removes what --parts sets
        monkeypatch.delenv(parts.ENVIRONMENT)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["emotion-lightning", *words])
        monkeypatch.setattr(shutdown, "fast_exit", sys.exit)
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code == 2
        return "".join(capfd.readouterr())

    return refusal


@pytest.fixture
def write_wav(tmp_path: Path) -> Callable[..., Path]:
    """`write_wav("a/b.wav", samples, rate=16_000, subtype="PCM_16")`: a clip below tmp_path; the suffix is the format."""

    def write(name: str, samples: np.ndarray, rate: int = 16_000, subtype: str | None = "PCM_16") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    return write


def tone(hertz: float, seconds: float = 1.0, rate: int = 16_000, level: float = 0.3) -> np.ndarray:
    """(samples,) float64: a sine whose ends do not click."""
    time = np.arange(round(seconds * rate)) / rate
    edges = np.minimum(1, np.minimum(time, time[::-1]) / 0.005)
    return level * edges * np.sin(2 * np.pi * hertz * time)


def hiss(seconds: float = 1.0, rate: int = 16_000, level: float = 0.1, seed: int = 0) -> np.ndarray:
    """(samples,) float64: white noise, `level` is its deviation."""
    return level * np.random.default_rng(seed).standard_normal(round(seconds * rate)).clip(-4, 4)


def largest_difference(a: dict[str, float], b: dict[str, float]) -> float:
    """The largest one of any emotion's probability."""
    return max(abs(a[emotion] - b[emotion]) for emotion in a)

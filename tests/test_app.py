"""The page of a model in a real browser, over its API, and its words. Nothing of it may use the network."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import browser
import numpy as np
import processes
import pytest
import soundfile
from matplotlib.figure import Figure

from emotion_lightning.app import answer
from emotion_lightning.predict import open_model
from emotion_lightning.serving.about import About, Scale
from emotion_lightning.serving.recogniser import Recogniser, Recognition
from emotion_lightning.serving.windows import Segment

SPEAKERS = {"test/speakers": 3.0, "test/speakers_trained_on": 0.0}
# a Python that imports this module writes down all addresses outside this machine that it looks up or connects to
SPY = """
import sys
def spy(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        host = args[1][0] if event == "socket.connect" and isinstance(args[1], tuple) else args[0]
        if isinstance(host, str) and host not in ("127.0.0.1", "localhost"):
            open({file!r}, "a").write(f"{{event}} {{host}}\\n")
sys.addaudithook(spy)
"""


def about(**changes: object) -> About:
    facts = {
        "title": "x",
        "run": "r",
        "classes": ("calm", "sad", "angry"),
        "sample_rate": 16_000,
        "median_seconds": 1,
    }
    return About.model_validate({**facts, "longest_seconds": 2, "calibration": Scale(coverage=0.9), **changes})


def recognition(calm: float, sad: float, least: float = 0.0, **changes: object) -> Recognition:
    shares = {"calm": calm, "sad": sad, "angry": 1 - calm - sad}
    facts = {"emotions": ("sad", "calm"), "seconds": 1.26, "windows": 1, **changes}
    return Recognition(probabilities=shares, min_confidence=least, **facts)


def test_the_answer_in_words() -> None:
    facts = about(figures={"test/set_coverage": 0.7396, **SPEAKERS})
    assert answer.sentences(recognition(0.3, 0.617), facts).split("\n\n") == [
        "## sad, 62%",
        "**Possible: sad or calm.** Such a set is meant to contain the true emotion in 90% of clips; "
        "on 3 unseen speakers it did in 74%.",
        "The recording lasts 1.3 s.",
    ]
    long = answer.sentences(recognition(0.3, 0.617, windows=5, emotions=("sad",)), about())
    assert "**Possible: sad.**" in long and "in 90% of clips." in long and "heard in 5 parts" in long


def test_an_answer_below_the_least_confidence_is_uncertain() -> None:
    words = answer.sentences(recognition(0.3, 0.4, least=0.5), about())
    assert words.startswith(
        "## uncertain\n\nsad is most probable, but with 40% it is below the least confidence of 50%."
    )


def test_known_speakers_are_not_called_unseen() -> None:
    known = about(figures={"test/speakers": 28.0, "test/speakers_trained_on": 27.0})
    assert answer.test_speakers(known) == "28 test speakers, 27 of them known from the training"
    assert answer.test_speakers(about(figures=SPEAKERS)) == "3 unseen speakers"


def test_a_picture_has_a_text_without_markup() -> None:
    assert 'alt="a &lt;b&gt; &quot;c&quot;"' in answer.picture(Figure(), 'a <b> "c"')


def test_the_text_of_a_timeline_has_its_segments() -> None:
    found = recognition(0.3, 0.6, windows=3, seconds=75.5, segments=(Segment(0, 75.5, "sad", 0.6),))
    assert "Timeline: 0:00.0 to 1:15.5 sad" in answer.timeline_element(found)
    assert answer.timeline_element(recognition(0.3, 0.6)) == ""


# ---------------------------------------------------------------- the program


@pytest.fixture(scope="module")
def run(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder with a run of an SVM on generated voices, its model, and the clips."""
    folder = tmp_path_factory.mktemp("app")
    processes.copy_ready_store(folder)
    small = "corpora.demo={speakers: 4, takes: 1}"
    processes.finished(processes.start(folder, "train", "demo_svm", small, "--cache", str(demo_data)))
    [made] = processes.runs(folder)
    package = next((folder / "mlruns").rglob("package.json")).parent
    clips = sorted(demo_data.glob("demo-*/ravdess/*/*.wav"))
    assert len(clips) == 64
    return SimpleNamespace(folder=folder, id=made.info.run_id, model=open_model(model=str(package)), clips=clips)


@contextmanager
def served(run: SimpleNamespace, spied: Path) -> Iterator[str]:
    """The address of the page in a process of its own, which writes to `spied` what it looks up in the network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hooks = spied.parent / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(SPY.format(file=str(spied)))
    temporary = spied.parent / "tmp"
    temporary.mkdir()
    path = os.pathsep.join([str(hooks), str(processes.REPOSITORY)])
    variables = {"PYTHONPATH": path, "TMPDIR": str(temporary), "HTTP_PROXY": "http://127.0.0.1:9"}
    process = processes.start_interpreter(run.folder, "app", "--run", run.id, "--port", str(port), **variables)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}/" in line, line + process.communicate()[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.send_signal(signal.SIGTERM)
        _, faults = process.communicate(timeout=60)
    assert process.returncode == 0, faults
    assert "Traceback" not in faults
    assert not list(temporary.glob("emotion_lightning_app_*")), "recordings are left"
    assert not spied.exists(), spied.read_text()


@pytest.mark.slow
def test_the_page_agrees_with_python_on_all_clips(run: SimpleNamespace, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    with served(run, tmp_path / "spied") as address:
        client = Client(address, verbose=False, analytics_enabled=False)
        for clip in run.clips:
            _, bars, *_ = client.predict(handle_file(clip), api_name="/recognise")
            shown = {one["label"]: one["confidence"] for one in value(bars)["confidences"]}
            assert shown == pytest.approx(run.model.file(clip).probabilities, abs=1e-4)
        text, bars, *_ = client.predict(None, api_name="/recognise")
        assert text == "Choose a file or record something first."
        assert list(tmp_path.glob("tmp/emotion_lightning_app_*/*/*.wav"))


def value(update: object) -> dict:
    """The value in an answer of the API, which also says whether the component is visible."""
    return update["value"] if isinstance(update, dict) and "value" in update else update


@pytest.mark.slow
@pytest.mark.skipif(not browser.CHROMIUM, reason="no chromium is installed")
def test_the_page_in_a_browser(run: SimpleNamespace, tmp_path: Path) -> None:
    long, broken = tmp_path / "long.wav", tmp_path / "broken.wav"
    waves = [soundfile.read(clip)[0] for clip in run.clips[:8]]
    soundfile.write(long, np.concatenate(waves), soundfile.info(run.clips[0]).samplerate)
    broken.write_bytes(b"no sound")
    microphone = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    microphone += (f"--use-file-for-fake-audio-capture={long}",)
    with served(run, tmp_path / "spied") as address, browser.opened(tmp_path / "profile", *microphone) as page:
        page.resize(390, 844)
        page.open(address)
        recognise(page, run.clips[5])
        assert meters(page) == pytest.approx(run.model.file(run.clips[5]).probabilities, abs=1e-4)
        assert page.value("document.querySelectorAll('img.picture').length") == 1
        page.click("Show what mattered")
        page.until("document.querySelectorAll('img.picture').length == 2")
        assert page.value("document.documentElement.scrollWidth") == 390
        check_long(page, run.model, long)
        recognise(page, broken)
        assert "This recording cannot be used: corrupt" in page.value("document.body.innerText")
        assert meters(page) == {}
        check_recording(page)
        page.click("Model card")
        page.until("document.body.innerText.includes('must not be used for decisions about people, such as')")
        assert page.value("document.documentElement.scrollWidth") == 390
        assert "DEMO" in page.value("document.title")
        outside = {a for a in page.addresses if not a.startswith((address, "data:", f"blob:{address}"))}
        assert len(page.addresses) > 20 and outside == set()
        assert page.faults == []


def recognise(page: browser.Page, file: Path) -> None:
    """Chooses a file and asks for the answer."""
    if page.value("!!document.querySelector('button[aria-label=Clear]')"):
        page.click("Clear")
    page.until("!!document.querySelector('input[type=file]')")
    page.until("document.body.innerText.includes('The answer appears here')")
    page.upload("input[type=file]", file)
    page.until("!!document.querySelector('button[aria-label=Clear]')")
    answered(page)


def answered(page: browser.Page) -> None:
    page.click("Recognise")
    page.until("/recording lasts|cannot be used/.test(document.body.innerText)")
    page.until("/cannot be used/.test(document.body.innerText) || !!document.querySelector('meter')")


def meters(page: browser.Page) -> dict[str, float]:
    """The emotions and probabilities of the bars on the page."""
    return dict(page.value("[...document.querySelectorAll('meter')].map(m => [m.ariaLabel, m.value])"))


def check_long(page: browser.Page, model: Recogniser, file: Path) -> None:
    recognise(page, file)
    expected = model.file(file, timeline=True)
    assert meters(page) == pytest.approx(model.file(file).probabilities, abs=1e-4)
    text = page.until("document.querySelector('img[alt^=Timeline]')?.alt")
    assert len(re.findall(r" to ", text)) == len(expected.segments) > 1


def check_recording(page: browser.Page) -> None:
    """Records what the browser plays as its microphone."""
    page.click("Clear")
    page.click("Record audio")
    page.click("Record")
    page.until("/0:0[2-9]/.test(document.body.innerText)")
    page.click("Stop")
    page.until("!!document.querySelector('button[aria-label=\"Trim audio to selection\"]')")
    answered(page)
    seconds = float(page.value("document.body.innerText.match(/recording lasts ([0-9.]+) s/)[1]"))
    assert 1 < seconds < 10 and sum(meters(page).values()) == pytest.approx(1, abs=1e-4)


def test_without_a_model_it_says_what_is_needed(refusal: Callable[..., str], tmp_path: Path) -> None:
    assert "RUN or MODEL: one of them is needed" in refusal(tmp_path, "app")


@pytest.mark.slow
def test_a_port_in_use_is_one_line(refusal: Callable[..., str], run: SimpleNamespace) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        said = refusal(run.folder, "app", "--run", run.id, "--port", str(other.getsockname()[1]))
    assert "PORT" in said and "PORT=7861" in said

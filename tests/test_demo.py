"""The demo corpus: same settings, same bytes; names as RAVDESS and SAVEE have them; a voice that follows its parameters."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.linalg import solve_toeplitz

from emotion_lightning.corpora import EMOTIONS, Clip, Refused, demo, open_corpus, ravdess, savee
from emotion_lightning.corpora._voice import RATE, Voice, speak
from emotion_lightning.errors import UserError

SMALL = {"speakers": 2, "takes": 1}
SPEAKERS = {"DEMO-ravdess-01", "DEMO-ravdess-02", "DEMO-savee-DC", "DEMO-savee-JE", "DEMO-savee-JK", "DEMO-savee-KL"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.prepare(tmp_path_factory.mktemp("cache"), **SMALL)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}


def steady(**fields: float) -> Voice:
    """One voice (B = 1) without accents, slope, jitter or breath."""
    plain = {"pitch": 120, "accent": 0, "slope": 0, "jitter": 0, "rate": 4, "level": -20, "tilt": 6}
    fields = plain | {"breath": -60, "tract": 1} | fields
    return Voice(**{name: torch.tensor([float(value)]) for name, value in fields.items()})


def utter(voice: Voice, text: str) -> np.ndarray:
    wave, lengths = speak(voice, [text], torch.Generator().manual_seed(0))
    return wave[0, : int(lengths[0])].numpy()


def measured_f0(wave: np.ndarray) -> float:
    """By autocorrelation: the first lag between 60 and 500 Hz that is a peak nearly as high as the highest."""
    wave = wave * np.hanning(len(wave))
    correlation = np.correlate(wave, wave, "full")[len(wave) - 1 :]
    lags = np.arange(RATE // 500, RATE // 60)
    peaks = lags[(correlation[lags] > correlation[lags - 1]) & (correlation[lags] >= correlation[lags + 1])]
    return RATE / peaks[correlation[peaks] > 0.9 * correlation[peaks].max()][0]


def measured_formants(wave: np.ndarray) -> np.ndarray:
    """Hz of the narrow poles of a linear prediction of order 18 (autocorrelation method)."""
    wave = np.diff(wave) * np.hamming(len(wave) - 1)
    correlation = np.correlate(wave, wave, "full")[len(wave) - 1 :][:19]
    poles = np.roots([1, *-solve_toeplitz(correlation[:-1], correlation[1:])])
    return np.angle(poles[(poles.imag > 0) & (np.abs(poles) > 0.9)]) * RATE / (2 * np.pi)


def test_same_settings_give_the_same_bytes(folder, tmp_path):
    again = demo.prepare(tmp_path, **SMALL)
    assert again.name == folder.name and contents(again) == contents(folder)


def test_another_seed_gives_other_voices_in_another_folder(folder, tmp_path):
    other = demo.prepare(tmp_path, **SMALL, seed=1)
    assert other.name != folder.name
    ours, theirs = contents(folder), contents(other)
    assert ours.keys() == theirs.keys() and all(ours[name] != theirs[name] for name in ours)


def test_drawing_leaves_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    demo.prepare(tmp_path, speakers=1, takes=1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_readers_of_ravdess_and_savee_take_every_file(folder):
    items = [*ravdess.read(folder / "ravdess"), *savee.read(folder / "savee")]
    assert not [item for item in items if isinstance(item, Refused)]
    assert len(items) == len(contents(folder)) == 2 * 16 + 4 * 16


def test_every_clip_says_demo_and_every_class_and_speaker_is_there(folder):
    clips = [clip for clip in demo.read(folder, **SMALL) if isinstance(clip, Clip)]
    assert {clip.corpus for clip in clips} == {"demo"}
    assert {clip.speaker for clip in clips} == SPEAKERS
    assert {clip.emotion for clip in clips} == set(EMOTIONS[:8])
    assert all(clip.id == f"DEMO-{clip.path.stem}" for clip in clips)
    assert {clip.sex for clip in clips if clip.speaker == "DEMO-ravdess-02"} == {"female"}
    assert len({clip.id for clip in clips}) == len(clips)


def test_the_framework_opens_it_without_data_and_without_a_warning(tmp_path):
    corpus = open_corpus("demo", SMALL, tmp_path / "no data", tmp_path / "cache")
    assert len(corpus.clips) == 96 and not corpus.warnings


def test_no_file_is_clipped_silent_or_out_of_shape(folder):
    for path in folder.rglob("*.wav"):
        info = soundfile.info(path)
        wave, _ = soundfile.read(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 0.5 < info.duration < 4
        assert 0.01 < np.abs(wave).max() < 0.99 and np.sqrt(np.mean(wave**2)) > 10 ** (-50 / 20), path.name


def test_a_finished_corpus_is_not_written_again(folder):
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert demo.prepare(folder.parent, **SMALL) == folder
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_what_a_killed_process_left_is_made_again(folder, tmp_path):
    half = tmp_path / f"{folder.name}.part" / "ravdess" / "Actor_01"
    half.mkdir(parents=True)
    (half / "03-01-01-01-01-01-01.wav").write_bytes(b"RIFF")
    (half / "03-01-08-02-02-02-24.wav").write_bytes(b"of older settings")
    made = demo.prepare(tmp_path, **SMALL)
    assert contents(made) == contents(folder) and not half.exists()


@pytest.mark.parametrize("settings", [{"speakers": 0}, {"speakers": 25}, {"takes": 3}])
def test_settings_that_no_file_name_can_hold_are_refused(settings, tmp_path):
    with pytest.raises(UserError, match="speakers"):
        demo.prepare(tmp_path, **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pitch", [90.0, 150.0, 260.0])
def test_measured_f0_is_the_asked_one(pitch):
    wave = utter(steady(pitch=pitch), "ɑ ɑ ɑ ɑ")
    assert measured_f0(wave[len(wave) // 2 :][:4096]) == pytest.approx(pitch, rel=0.03)


@pytest.mark.parametrize(("vowel", "first", "second"), [("ɑ", 768, 1333), ("i", 342, 2322), ("u", 378, 997)])
@pytest.mark.parametrize("tract", [1.0, 1.15])
def test_linear_prediction_finds_the_vowels_formants(vowel, first, second, tract):
    """Hillenbrand's means, within the 10 % that harmonics 100 Hz apart allow."""
    wave = utter(steady(pitch=100, tract=tract), f"{vowel} {vowel} {vowel} {vowel}")
    formants = measured_formants(wave[len(wave) // 2 :][:2048])
    for formant in (first * tract, second * tract):
        assert np.abs(formants - formant).min() < 0.1 * formant, formants


def test_rate_and_level_are_the_asked_ones():
    slow, fast = utter(steady(rate=3, level=-30), "ɑ " * 7), utter(steady(rate=6, level=-20), "ɑ " * 7)
    assert (len(slow) - 0.12 * RATE) / (len(fast) - 0.12 * RATE) == pytest.approx(2, rel=0.01)
    assert len(fast) / RATE == pytest.approx(7.3 / 6 + 0.12, rel=0.2)  # syllables vary by 15 %
    for wave, level in ((slow, -30), (fast, -20)):
        speech = wave[round(0.06 * RATE) : -round(0.06 * RATE)]
        assert 20 * np.log10(np.sqrt(np.mean(speech**2))) == pytest.approx(level, abs=0.5)


def test_a_slope_and_a_steeper_tilt_do_what_they_say():
    falling = utter(steady(slope=-6), "ɑ ɑ ɑ ɑ ɑ ɑ")
    fifth = len(falling) // 5  # from the second to the fourth is two fifths of the slope
    fall = measured_f0(falling[fifth : 2 * fifth]) / measured_f0(falling[3 * fifth : 4 * fifth])
    assert 12 * np.log2(fall) == pytest.approx(6 * 2 / 5, abs=0.5)
    bright, dark = (np.abs(np.fft.rfft(utter(steady(tilt=t), "ɑ ɑ ɑ"))) ** 2 for t in (4, 12))
    above_1500_hz = [power[round(len(power) * 1500 / 8000) :].sum() / power.sum() for power in (bright, dark)]
    assert above_1500_hz[0] > 10 * above_1500_hz[1]

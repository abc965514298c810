"""Speed, pitch, vocal-tract length, time shift and mixing within an emotion, measured on their output and against scipy."""

import numpy as np
import pytest
import scipy.signal
import torch
from conftest import hiss, tone
from test_augment import WAVEFORM, built, made_up

from emotion_lightning.config import parts
from emotion_lightning.errors import UserError

ON_WAVEFORMS = pytest.mark.parametrize(
    ("name", "off"),
    [
        ("speed", {"speeds": (1.0,)}),
        ("pitch_shift", {"semitones": (0.0,)}),
        ("vtlp", {"p": 0.0}),
        ("time_shift", {"p": 0.0}),
        ("gain", {"p": 0.0}),
        ("same_emotion", {"p": 0.0}),
    ],
)


def batch(*waves: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = [torch.from_numpy(wave).float() for wave in waves]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), torch.tensor([len(t) for t in tensors])


@ON_WAVEFORMS
def test_switched_off_nothing_changes(name: str, off: dict[str, object]) -> None:
    before = made_up(WAVEFORM)
    after = parts.entry("augment", name)(**off)(*before)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old)


@ON_WAVEFORMS
def test_short_and_silent_clips_survive(name: str, off: dict[str, object]) -> None:
    targets = torch.eye(2)[[0, 1, 0, 1]]
    for x, extent in (
        (torch.zeros(4, 900), torch.tensor([1, 2, 450, 900])),
        (torch.rand(4, 1), torch.ones(4).long()),
    ):
        for seed in range(10):
            torch.manual_seed(seed)
            new, lengths, _ = built(name)(x, extent, targets)
            assert new.isfinite().all() and (lengths >= 1).all() and (lengths <= x.shape[1]).all()
            assert not new[torch.arange(x.shape[1]) >= lengths[:, None]].any()


def test_a_gain_changes_the_level_of_each_clip_by_its_own_draw_in_db() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 50) - 0.5
    new, lengths, _ = built("gain", min_db=-6.0, max_db=9.0, p=0.75)(x, torch.full((400,), 50), torch.ones(400, 1))
    decibel = 20 * (new.abs().amax(1) / x.abs().amax(1)).log10()
    torch.testing.assert_close(new, x * (10 ** (decibel / 20))[:, None])
    changed = decibel[decibel.abs() > 1e-4]
    assert 270 < len(changed) < 330 and -6 <= float(changed.min()) < -5.5 and 8.5 < float(changed.max()) <= 9
    assert len(changed.unique()) > 250 and (lengths == 50).all()
    with pytest.raises(UserError, match=r"augment.gain: min_db=3.0 is larger than max_db=1.0"):
        built("gain", min_db=3.0, max_db=1.0)


def test_a_faster_clip_is_scipys_resampled_one_and_shorter() -> None:
    x, extent = batch(tone(300, 1.0), tone(300, 0.5))
    new, lengths, _ = parts.entry("augment", "speed")(speeds=(1.25,))(x, extent, torch.eye(2))
    assert lengths.tolist() == [12_800, 6_400]
    for clip, length in enumerate(lengths.tolist()):
        own = x[clip, : int(extent[clip])].double().numpy()
        expected = scipy.signal.resample_poly(own, 4, 5)
        np.testing.assert_allclose(new[clip, 200 : length - 200], expected[200 : length - 200], atol=0.01)
        assert not new[clip, length:].any()
    spectrum = torch.fft.rfft(new[0, :12_800]).abs()
    assert int(spectrum.argmax()) * 16_000 / 12_800 == pytest.approx(375, abs=2)  # 300 Hz × 1.25


def test_a_slower_clip_is_cut_where_the_batch_ends() -> None:
    x, extent = batch(tone(300, 1.0), tone(300, 0.5))
    new, lengths, _ = parts.entry("augment", "speed")(speeds=(0.8,))(x, extent, torch.eye(2))
    assert lengths.tolist() == [16_000, 10_000] and new.shape == x.shape


@pytest.mark.parametrize("semitones", [-4.0, 3.0])
def test_a_shift_in_pitch_multiplies_the_frequency_and_keeps_length_and_level(semitones: float) -> None:
    x, extent = batch(tone(400, 1.0), tone(700, 0.6))
    new, lengths, _ = parts.entry("augment", "pitch_shift")(semitones=(semitones,))(x, extent, torch.eye(2))
    assert torch.equal(lengths, extent)
    for clip, hertz in enumerate((400, 700)):
        own = new[clip, : int(extent[clip])]
        found = int(torch.fft.rfft(own).abs().argmax()) * 16_000 / len(own)
        assert found == pytest.approx(hertz * 2 ** (semitones / 12), rel=0.01)
        middle = own[len(own) // 4 : -len(own) // 4]
        assert float(middle.square().mean().sqrt()) == pytest.approx(0.3 / 2**0.5, rel=0.1)
        assert not new[clip, len(own) :].any()


def test_each_clip_draws_a_shift_of_its_own() -> None:
    torch.manual_seed(0)
    x = torch.from_numpy(np.tile(tone(400, 0.5), (40, 1))).float()
    new, _, _ = built("pitch_shift")(x, torch.full((40,), 8_000), torch.ones(40, 1))
    found = torch.fft.rfft(new).abs().argmax(1) * 2  # Hz
    assert found.unique().tolist() == pytest.approx([356, 378, 400, 424, 448], abs=2)


def warped_hertz(hertz: float, factor: float, boundary: float = 4_800.0) -> float:
    """Jaitly and Hinton's formula at 16 kHz."""
    knee = boundary * min(factor, 1) / factor
    if hertz <= knee:
        return hertz * factor
    return 8_000 - (8_000 - boundary * min(factor, 1)) / (8_000 - knee) * (8_000 - hertz)


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.1, 1.2])
@pytest.mark.parametrize("hertz", [500, 1_234, 3_500, 5_500, 7_000])
def test_vtlp_makes_a_clean_tone_of_a_tone_at_its_warped_frequency(factor: float, hertz: int) -> None:
    x, extent = batch(tone(hertz, 1.0), tone(hertz, 0.6))
    new, lengths, _ = parts.entry("augment", "vtlp")(low=factor, high=factor, p=1.0)(x, extent, torch.eye(2))
    assert torch.equal(lengths, extent)
    for clip, length in enumerate(extent.tolist()):
        assert not new[clip, length:].any()
        middle = new[clip, length // 4 : -(length // 4)][: length // 2].double().numpy()
        power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 160_000)) ** 2  # 0.1 Hz a bin
        peak = int(power.argmax())
        assert peak / 10 == pytest.approx(warped_hertz(hertz, factor), abs=1.0)
        assert power[max(0, peak - 100) : peak + 101].sum() > 0.98 * power.sum()  # within 10 Hz of it
        assert 20 * np.log10(np.sqrt((middle**2).mean()) / (0.3 / 2**0.5)) == pytest.approx(0, abs=1.0)


def test_vtlp_keeps_two_tones_in_proportion() -> None:
    """The level of the clip is restored as a whole, so this one compares its parts: 500 Hz and, 6 dB lower, 2 kHz."""
    x, extent = batch(tone(500, 1.0) + 0.5 * tone(2_000, 1.0))
    new, _, _ = parts.entry("augment", "vtlp")(low=1.1, high=1.1, p=1.0)(x, extent, torch.eye(1))
    power = np.abs(np.fft.rfft(new[0, 4_000:12_000].double().numpy() * np.hanning(8_000))) ** 2  # 2 Hz a bin
    low, high = (power[hertz // 2 - 10 : hertz // 2 + 11].sum() for hertz in (550, 2_200))
    assert 10 * np.log10(low / high) == pytest.approx(6.02, abs=0.5)
    assert low + high > 0.98 * power.sum()


def test_vtlp_draws_a_factor_for_each_clip_from_its_range() -> None:
    torch.manual_seed(0)
    x = torch.from_numpy(np.tile(tone(1_000, 0.5), (60, 1))).float()
    warp = built("vtlp", p=1.0)
    new, _, _ = warp(x, torch.full((60,), 8_000), torch.ones(60, 1))
    found = torch.fft.rfft(new).abs().argmax(1) * 2  # Hz
    assert len(found.unique()) > 30 and 895 <= found.min() < 930 and 1_070 < found.max() <= 1_105
    for clip in (0, 30):  # a clip does not depend on the others of its batch
        alone = built("vtlp", low=float(found[clip]) / 1_000, high=float(found[clip]) / 1_000, p=1.0)
        again, _, _ = alone(x[:1], torch.tensor([8_000]), torch.ones(1, 1))
        assert int(torch.fft.rfft(again).abs().argmax()) * 2 == pytest.approx(int(found[clip]), abs=2)
    torch.manual_seed(0)
    assert torch.equal(warp(x, torch.full((60,), 8_000), torch.ones(60, 1))[0], new)


def test_vtlp_warps_a_share_of_the_clips() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 1_200)
    new, _, _ = built("vtlp", p=0.3)(x, torch.full((400,), 1_200), torch.ones(400, 1))
    share = float((new != x).any(1).float().mean())
    assert share == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 400) ** 0.5)


def test_a_range_of_factors_upside_down_is_refused() -> None:
    with pytest.raises(UserError, match=r"augment.vtlp: low=1.1 is larger than high=0.9"):
        built("vtlp", low=1.1, high=0.9)


def test_each_clip_draws_one_of_the_speeds() -> None:
    torch.manual_seed(0)
    x = torch.rand(300, 1_000)
    _, lengths, _ = built("speed")(x, torch.full((300,), 900), torch.ones(300, 1))
    values, counts = lengths.unique(return_counts=True)
    assert values.tolist() == [819, 900, 1_000] and (counts > 70).all()  # 900 / 1.1, / 1, / 0.9


def test_a_shift_rotates_the_clip_within_its_own_length() -> None:
    x, extent, targets = made_up(WAVEFORM)
    torch.manual_seed(1)
    new, lengths, _ = built("time_shift", max_share=0.5, p=1.0)(x, extent, targets)
    assert torch.equal(lengths, extent)
    moves = set()
    for clip, length in enumerate(extent.tolist()):
        own = x[clip, :length]
        first = int((own == new[clip, 0]).nonzero()[0, 0])
        assert torch.equal(new[clip, :length], own.roll(-first)) and not new[clip, length:].any()
        move = min(first, length - first) / length
        assert move <= 0.5
        moves.add(round(move, 4))
    assert len(moves) == len(x)  # each clip its own draw


def test_the_added_clip_has_the_same_emotion_and_the_ratio_asked_for() -> None:
    waves = [hiss(0.5 + 0.1 * i, seed=i) for i in range(6)]
    x, extent = batch(*waves)
    emotions = [0, 1, 0, 1, 0, 2]  # the last one is alone
    torch.manual_seed(0)
    mixer = built("same_emotion", min_ratio_db=6.0, max_ratio_db=6.0, p=1.0)
    new, lengths, targets = mixer(x, extent, torch.eye(3)[emotions])
    assert torch.equal(targets, torch.eye(3)[emotions]) and torch.equal(new[5], x[5]) and lengths[5] == extent[5]
    for clip in range(5):
        added = (new[clip] - x[clip]).double()
        fits = [float(torch.nn.functional.cosine_similarity(added, other.double(), 0)) for other in x]
        partner = int(np.argmax(fits))
        assert fits[partner] > 0.999 and partner != clip and emotions[partner] == emotions[clip]
        assert lengths[clip] == max(int(extent[clip]), int(extent[partner]))
        own, other = (
            float(part.square().sum() / n) for part, n in ((x[clip], extent[clip]), (added, extent[partner]))
        )
        assert 10 * np.log10(own / other) == pytest.approx(6.0, abs=0.05)


def test_a_ratio_upside_down_is_refused() -> None:
    with pytest.raises(UserError, match=r"augment.same_emotion: min_ratio_db=9.0 is larger than max_ratio_db=3.0"):
        built("same_emotion", min_ratio_db=9.0, max_ratio_db=3.0)

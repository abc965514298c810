"""What the audit finds: on the real clips what is known of them, elsewhere broken promises and reads of test clips."""

import io
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from audits import audited, experiment, finding
from conftest import DEMO
from rich.console import Console
from torch import Tensor

from emotion_lightning.audit.leakage import audit
from emotion_lightning.audit.summary import sentence
from emotion_lightning.cli.audit import show
from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.train import build, train


def real(corpora: Path, cache: Path, protocol: str, **args: object) -> Experiment:
    chosen = experiment(
        {"ravdess": None, "savee": None}, cache, protocol, data={"cache": str(cache), "dir": str(corpora)}
    )
    return settings.check(chosen.model_dump(mode="json") | {"protocol": {"name": protocol, **args}})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.real
def test_the_papers_split_has_every_speaker_in_two_splits(real_corpora: Path, cache: Path) -> None:
    found = audited(real(real_corpora, cache, "paper_random"))
    speakers = finding(found, "speaker")
    assert (speakers.clips, speakers.total, speakers.verdict) == (96, 96, "allowed")
    assert sentence(found) == (
        "known speakers: 96 of 96 test clips share speakers with another split; no clip or sound in two splits"
    )
    assert found.leaks() == []
    assert found.duplicates == (
        "03-01-03-01-02-01-07 = 03-01-03-01-02-02-07",
    )  # actor 07's one recording under two names


@pytest.mark.parametrize("fold", [0, *(pytest.param(fold, marks=pytest.mark.real) for fold in range(1, 5))])
@pytest.mark.real
def test_no_alarm_on_the_speaker_folds_of_the_real_clips(real_corpora: Path, cache: Path, fold: int) -> None:
    found = audited(real(real_corpora, cache, "speaker_folds", fold=fold))
    for name in ("speaker", "clip", "content", "near_equal_audio", "altered_copy"):
        for split_name in ("test", "val"):
            assert finding(found, name, split_name).clips == 0, finding(found, name, split_name)
    assert sentence(found) == "ok: no speaker, clip or sound in two splits"


@pytest.mark.real
def test_takes_by_one_speaker_are_no_leak(real_corpora: Path, cache: Path) -> None:
    found = audited(real(real_corpora, cache, "random"))
    assert found.leaks() == []
    assert finding(found, "near_equal_audio").clips == 0
    assert (
        finding(found, "altered_copy").clips < 10
    )  # two takes that are as like as an altered copy, and said to be that


def test_clips_without_copies_give_no_alarm(demo_data: Path) -> None:
    found = audited(experiment({"demo": DEMO}, demo_data, "speaker_folds"))
    assert found.leaks() == [] and finding(found, "near_equal_audio").clips == 0


LIAR = """
from emotion_lightning.protocols import paper_random

DISJOINT = {promise}


def split(clips, *, split_seed: int = 0):
    return paper_random.split(clips, val_share=0.2, test_share=0.2, split_seed=split_seed)
"""


def protocol_of_ones_own(folder: Path, monkeypatch: pytest.MonkeyPatch, promise: str) -> str:
    """Its name, another one each time, since a module once imported stays."""
    name = f"own{zlib.crc32(str(folder).encode())}"
    (folder / "protocols").mkdir(parents=True)
    (folder / "protocols" / f"{name}.py").write_text(LIAR.format(promise=promise))
    monkeypatch.setenv("EMOTION_LIGHTNING_PARTS", str(folder))
    return name


def test_a_broken_promise_stops_the_run_before_it_is_opened(
    demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a protocol of a user's own that says one thing and does another."""
    name = protocol_of_ones_own(tmp_path / "parts", monkeypatch, '("speaker",)')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=rf"audit: protocol {name} does not keep its promise: .* test clips share speakers"
    ):
        train(experiment({"demo": DEMO}, demo_data, name), Console(quiet=True))
    assert not (tmp_path / "mlruns").exists()


def test_a_promise_about_any_field_of_a_clip_is_held_to(
    demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = protocol_of_ones_own(tmp_path, monkeypatch, '("sex",)')
    found = audited(experiment({"demo": DEMO}, demo_data, name))
    assert [f.name for f in found.broken()] == ["sex"]


@pytest.mark.parametrize(
    ("promise", "said"),
    [('("speakers",)', "a clip has no 'speakers'; did you mean 'speaker'"), ('("speaker")', "is a tuple")],
)
def test_a_promise_that_cannot_be_understood_is_refused(
    demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: str, said: str
) -> None:
    name = protocol_of_ones_own(tmp_path, monkeypatch, promise)
    with pytest.raises(UserError, match=said):
        audited(experiment({"demo": DEMO}, demo_data, name))


def test_unknown_speakers_are_not_taken_for_different_ones(tmp_path: Path, demo_data: Path) -> None:
    data = EmotionData(experiment({"demo": DEMO}, demo_data, "speaker_folds"))
    data.setup()
    data.clips = [replace(clip, speaker="") for clip in data.clips]
    assert [f.name for f in audit(data).broken()] == ["speaker"]


class PeekingData(EmotionData):
    """Normalises by all clips: what the audit is there to see."""

    def statistics(self) -> tuple[Tensor, Tensor]:
        stored = self.gather(torch.arange(len(self.clips)), torch.device("cpu")).stored.float()
        return stored.mean((0, 3), keepdim=True)[0], stored.std((0, 3), keepdim=True)[0]


def test_a_normaliser_that_reads_the_test_split_is_seen(
    demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = experiment({"demo": DEMO}, demo_data, model={"name": "small_cnn"})
    honest, _ = build(chosen, Console(quiet=True))
    assert honest.count_reads("normaliser", "train") == len(honest.split.train)
    assert honest.count_reads("normaliser", "test") == honest.count_reads("normaliser", "val") == 0
    monkeypatch.setattr("emotion_lightning.training.build.EmotionData", PeekingData)
    peeking, _ = build(chosen, Console(quiet=True))
    assert peeking.count_reads("normaliser", "test") == len(peeking.split.test)
    said = io.StringIO()
    assert show(chosen, Console(file=said, width=160))
    assert "the normaliser read test clips" in said.getvalue()
    monkeypatch.chdir(tmp_path)
    short = settings.check(
        chosen.model_dump(mode="json") | {"fit": {"stages": {"main": {"epochs": 1}}, "log_model": False}}
    )
    with pytest.raises(UserError, match="test clips were read for the normaliser"):
        train(short, Console(quiet=True))


def test_the_command_prints_a_table_and_has_an_exit_status(demo_data: Path) -> None:
    said = io.StringIO()
    leaky = {"name": "leaky_rows", "i_know_this_leaks": True}
    chosen = settings.check(
        experiment({"demo": DEMO}, demo_data, augment={"copies": {}}).model_dump(mode="json") | {"protocol": leaky}
    )
    assert show(chosen, Console(file=said, width=160))
    assert "LEAK: " in said.getvalue() and "clips and their copies" in said.getvalue()
    assert "DEMO · LEAKY · audited" in said.getvalue()
    data = EmotionData(chosen)
    data.setup()
    rows = [data.clips[i] for i in data.split.test]
    recorded = sum(not clip.variant for clip in rows)
    lines = {line.split("│")[1].strip(): line for line in said.getvalue().splitlines() if line.startswith("│")}
    assert f" of {len(rows)} " in lines["clips and their copies"] and "test rows" in said.getvalue()
    assert f" 0 of {recorded} " in lines["near-equal audio (of clips as recorded)"]  # the variants were not compared
    said = io.StringIO()
    assert not show(experiment({"demo": DEMO}, demo_data), Console(file=said, width=160))
    assert "no leak found; 26 of 26 test clips are by speakers who are also in another split" in said.getvalue()

"""The published figures: as their sources have them, each with how it arose; and what a file of claims may not say."""

import math
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.errors import UserError
from emotion_lightning.report import claims
from emotion_lightning.report.claims import Claim, differs, select

SHIPPED = sorted((settings.SHIPPED / "claims").glob("*.yaml"))
CORPORA = {"ravdess", "savee", "crema_d", "tess", "emodb", "emovo", "iemocap", "seven corpora"}
ENCODERS = ("wav2vec2-base", "hubert-base", "wavlm-base", "wavlm-large", "whisper-large-v3")
EMOBOX = {  # its intra-corpus table, UA in percent, in the order of ENCODERS
    "ravdess": (54.3, 65.4, 61.6, 72.0, 75.3),
    "savee": (44.9, 58.9, 63.6, 66.7, 74.1),
    "emovo": (31.1, 46.1, 42.4, 48.8, 57.8),
    "crema_d": (62.0, 71.1, 69.6, 74.5, 76.8),
    "emodb": (82.1, 87.7, 87.0, 92.6, 91.3),
    "tess": (97.9, 99.6, 99.1, 99.8, 100.0),
}
MINE = """
source: My paper, arXiv 0000.00000
corpora: [ravdess, my_corpus]
metric: accuracy
protocol: speaker_folds
speakers: disjoint
split: test
how: five folds
figures:
  - {model: svm, value: 0.5}
  - {model: lstm, value: 0.6}
"""


@pytest.fixture(autouse=True)
def only_shipped_claims(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(parts.ENVIRONMENT, raising=False)


def written(text: str, name: str = "mine", root: str = ".") -> None:
    folder = Path(root) / "experiments" / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def refusal(text: str) -> str:
    written(text)
    with pytest.raises(UserError) as caught:
        claims.load()
    message = str(caught.value)
    assert "\n" not in message
    return message


def of(file: str) -> list[Claim]:
    return [claim for claim in claims.load() if claim.file == f"claims/{file}.yaml"]


def percent(file: str, metric: str = "accuracy") -> dict[tuple[str, ...], float]:
    """(corpora…, model) → percent, to one decimal; for files with one figure of each."""
    figures = [c for c in of(file) if c.metric == metric]
    found = {(*c.corpora, c.model): round(100 * c.value, 1) for c in figures}
    assert len(found) == len(figures)
    return found


# ---------------------------------------------------------------- what is shipped


def test_as_many_figures_as_each_source_gives() -> None:
    assert Counter(Path(claim.file).stem for claim in claims.load()) == {
        "deepemonet": 9,  # five arms, F1 of four
        "cnn1d_attention": 7,  # six corpora, EMO-DB twice
        "emobox": 35,  # six corpora × five encoders, and five more on RAVDESS
        "reslstm": 8,
        "timnet": 6,  # three corpora, before and after
        "wav2vec2_hubert": 2,
        "eca_cnn": 4,
        "area_attention": 2,
        "hump_cat": 3,
        "ravdess_listeners": 3,  # all, normal and strong intensity
        "ravdess_one_speaker_out": 12,  # seven honest ones, five of shortcuts
    }


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_file_loads_and_opens_with_what_it_is(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")
    for claim in of(file.stem):
        assert set(claim.corpora) <= CORPORA
        assert "arXiv" in claim.source or "doi:" in claim.source or "github.com" in claim.url
        assert claim.url.startswith("https://")
        assert claim.how.endswith(tuple("abcdefghijklmnopqrstuvwxyz"))  # one sentence, for a table cell


def test_claims_are_not_mistaken_for_experiments() -> None:
    assert not {"deepemonet", "emobox", "timnet"} & set(settings.names())
    with pytest.raises(UserError, match="no experiment named 'deepemonet'"):
        settings.load("deepemonet")


def test_deepemonet_is_as_in_its_paper() -> None:
    known = ("ravdess", "savee")
    assert percent("deepemonet") == {
        (*known, "svm"): 51.7,
        (*known, "lstm"): 52.8,
        (*known, "resnet_scratch"): 45.8,
        (*known, "resnet_transfer"): 57.3,
        (*known, "resnet_aug"): 66.7,
    }
    assert percent("deepemonet", "f1") == {
        (*known, "svm"): 50.9,
        (*known, "lstm"): 49.7,
        (*known, "resnet_transfer"): 52.8,
        (*known, "resnet_aug"): 63.1,
    }
    assert {(c.protocol, c.speakers, c.split) for c in of("deepemonet")} == {
        ("paper_random", "overlapping", "validation")
    }


MORE_ENCODERS = {
    "hubert-large": 70.0,
    "data2vec-base": 51.9,
    "data2vec-large": 59.3,
    "data2vec2-base": 64.7,
    "data2vec2-large": 71.2,
}


def test_emobox_is_as_in_its_table_and_says_where_speakers_are_known() -> None:
    table = {(corpus, model): ua for corpus, row in EMOBOX.items() for model, ua in zip(ENCODERS, row, strict=True)}
    table |= {("ravdess", model): ua for model, ua in MORE_ENCODERS.items()}
    assert percent("emobox", "uar") == table
    disjoint = {c.corpora[0] for c in of("emobox") if c.speakers == "disjoint"}
    known = {c.corpora[0] for c in of("emobox") if c.speakers == "overlapping"}
    assert (disjoint, known) == ({"ravdess", "savee", "emovo"}, {"crema_d", "emodb", "tess"})


def test_the_rows_of_the_1d_cnn_are_marked_as_leaky() -> None:
    found = percent("cnn1d_attention")
    assert found.pop(("emodb", "cnn1d_attention_zcr")) == 84.7
    assert found == {
        ("savee", "cnn1d_attention_16rows"): 97.5,
        ("ravdess", "cnn1d_attention_16rows"): 99.2,
        ("crema_d", "cnn1d_attention"): 89.3,
        ("tess", "cnn1d_attention"): 99.8,
        ("emodb", "cnn1d_attention"): 99.5,
        ("emovo", "cnn1d_attention"): 96.4,
    }
    assert {c.protocol for c in of("cnn1d_attention")} == {"leaky_rows"}
    (crema_d,) = select(of("cnn1d_attention"), ["crema_d"])
    assert "does not support" in crema_d.how


def test_tim_net_is_listed_before_and_after_its_correction() -> None:
    found = {(c.corpora[0], c.split): round(100 * c.value, 1) for c in of("timnet")}
    assert found == {
        ("emodb", "validation"): 95.2,
        ("emodb", "test"): 89.2,
        ("ravdess", "validation"): 91.9,
        ("ravdess", "test"): 90.0,
        ("savee", "validation"): 86.3,
        ("savee", "test"): 77.3,
    }
    assert len({c.how for c in of("timnet")}) == 2


def test_the_small_lstms_carry_their_fault_and_those_they_quote_do_not() -> None:
    own = [c for c in of("reslstm") if c.split == "validation"]
    assert [(c.model, c.value, c.std) for c in own] == [
        ("ResLSTM-SA h64", 0.6232, 0.0119),
        ("ResLSTM-SA h64", 0.6517, None),
        ("LSTM-SA h64", 0.5751, 0.011),
    ]
    assert all("hyperparameters" in c.how for c in own)
    quoted = [c for c in of("reslstm") if c not in own]
    assert [round(100 * c.value, 1) for c in quoted] == [45.8, 61.7, 76.6, 81.8, 82.3]
    assert all(c.how.startswith("quoted") for c in quoted)


def test_what_a_disjoint_split_costs_on_iemocap() -> None:
    known, unseen = of("wav2vec2_hubert")
    assert (known.value, known.protocol, known.speakers) == (0.7958, "random", "overlapping")
    assert (unseen.value, unseen.speakers) == (0.7301, "disjoint")


def test_the_further_systems() -> None:
    assert [(c.metric, c.value) for c in of("eca_cnn")] == [
        ("uar", 0.7937),
        ("accuracy", 0.7968),
        ("uar", 0.8028),
        ("accuracy", 0.8046),
    ]
    assert [(c.metric, c.value) for c in of("area_attention")] == [("accuracy", 0.7934), ("uar", 0.7754)]
    assert list(percent("hump_cat").values()) == [88.7, 79.5, 78.8]


def test_a_claim_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        claims.load()[0].value = 0.1  # type: ignore[misc]


# ---------------------------------------------------------------- one's own file


@pytest.mark.parametrize("root", [".", "my_parts"])
def test_a_users_file_is_found_without_any_edit(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = len(claims.load())
    monkeypatch.setenv(parts.ENVIRONMENT, "my_parts")
    written(MINE, root=root)
    assert len(claims.load()) == shipped + 2
    first, second = select(claims.load(), ["my_corpus", "ravdess"])
    assert (first.model, first.value, first.how, first.file) == ("svm", 0.5, "five folds", "claims/mine.yaml")
    assert (second.model, second.value) == ("lstm", 0.6)


def test_a_users_file_hides_a_shipped_one_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(parts.ENVIRONMENT, "my_parts")
    written(MINE, name="deepemonet")
    assert [c.value for c in of("deepemonet")] == [0.5, 0.6]
    written(MINE.replace("0.5", "0.25"), name="deepemonet", root="my_parts")
    assert [c.value for c in of("deepemonet")] == [0.25, 0.6]


def test_a_figure_may_say_otherwise_than_its_file() -> None:
    other = (
        "source: B, corpora: [tess], metric: f1, protocol: mine, speakers: unknown, split: validation, how: otherwise"
    )
    written(MINE.replace("value: 0.6", f"value: 0.6, {other}"))
    plain, changed = of("mine")
    assert changed.model_dump() == {
        **plain.model_dump(),
        **{"model": "lstm", "value": 0.6, "corpora": ("tess",)},
        **{key: value for key, value in yaml.safe_load(f"{{{other}}}").items() if key != "corpora"},
    }


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value: 0.6", "value: 51.7", "figures.1.value: it should be less than or equal to 1, not 51.7"),
        ("value: 0.6", "value: 0", "figures.1.value: it should be greater than 0, not 0"),
        ("value: 0.6", "value: .nan", "figures.1.value: it should be "),
        ("value: 0.6", "value: '0.6'", 'figures.1.value: it should be a valid number, not "0.6"'),
        ("value: 0.6", "valu: 0.6", "figures.1.valu: no such setting; did you mean 'value'?"),
        ("value: 0.6", "about: x", "figures.1.value: missing"),
        (
            "value: 0.6",
            "value: 0.6, metric: wa",
            "figures.1.metric: it should be 'accuracy', 'f1' or 'uar', not \"wa\"",
        ),
        ("value: 0.6", "value: 0.6, corpora: []", "figures.1.corpora: "),
        ("value: 0.6", "value: 0.6, corpora: [1]", "figures.1.corpora.0: "),
        ("value: 0.6", "value: 0.6, file: x", "figures.1.file: no such setting"),
        ("metric: accuracy", "metric: wa", "metric: it should be 'accuracy', 'f1' or 'uar', not \"wa\""),
        ("protocol:", "protcol:", "protcol: no such setting; did you mean 'protocol'?"),
        ("how: five folds\n", "", "figures.0.how: missing"),
        ("  - {model: svm, value: 0.5}", "  - svm", 'figures.0: a figure is a mapping, not "svm"'),
        ("figures:", "figure:", "figures: "),
    ],
)
def test_a_fault_is_reported_in_one_line_with_file_and_path(old: str, new: str, message: str) -> None:
    assert MINE.count(old) == 1
    assert refusal(MINE.replace(old, new)).startswith(f"experiments/claims/mine.yaml: {message}")


def test_a_file_that_is_not_yaml_is_refused_with_the_line() -> None:
    message = refusal(MINE.replace("how:", "split: test\nhow:"))
    assert message == "experiments/claims/mine.yaml line 8: not YAML: duplicate key 'split'"
    assert refusal(MINE.replace("how: five", "how: [five")).startswith(
        "experiments/claims/mine.yaml line 8: not YAML"
    )


@pytest.mark.parametrize("text", ["", "figures: []", "figures: {a: 1}"])
def test_a_file_without_figures_is_refused(text: str) -> None:
    assert refusal(text).startswith("experiments/claims/mine.yaml: figures: ")


@pytest.mark.parametrize("text", ["word", "- 1"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert refusal(text).startswith("experiments/claims/mine.yaml: the file must be a mapping")


# ---------------------------------------------------------------- select and differs


def test_select_joins_on_the_whole_set_of_corpora_and_the_model() -> None:
    every = claims.load()
    assert len(select(every, ["savee", "ravdess"])) == 9
    assert [c.value for c in select(every, ("ravdess", "savee"), "resnet_aug")] == [0.667, 0.631]
    assert select(every, {"savee"}, "resnet_aug") == []
    assert select(every, []) == []
    assert math.isclose(max(c.value for c in select(every, ["savee"])), 0.9749)


def claim(protocol: str, speakers: str, split: str) -> Claim:
    return claims.load()[0].model_copy(update={"protocol": protocol, "speakers": speakers, "split": split})


@pytest.mark.parametrize(
    ("protocol", "speakers", "split", "ours", "said"),
    [
        ("speaker_folds", "disjoint", "test", "speaker_folds", ""),
        ("random", "overlapping", "test", "random", ""),
        ("paper_random", "overlapping", "validation", "paper_random", "validation split, which chose the epoch or the settings"),
        (
            "paper_random", "overlapping", "validation", "speaker_folds",
            "validation split, which chose the epoch or the settings; speakers overlap; other protocol (paper_random)",
        ),
        ("leaky_rows", "overlapping", "test", "random", "other protocol (leaky_rows)"),
        ("published_folds", "overlapping", "test", "speaker_folds", "speakers overlap; other protocol (published_folds)"),
        ("published_folds", "disjoint", "test", "speaker_folds", "other protocol (published_folds)"),
        ("speaker_folds", "disjoint", "test", "random", "no speaker overlap; other protocol (speaker_folds)"),
        ("unknown", "unknown", "unknown", "my_own", "split not stated; speakers not stated; protocol not stated"),
    ],
)  # fmt: skip
def test_differs_says_why_a_claim_does_not_compare(
    protocol: str, speakers: str, split: str, ours: str, said: str
) -> None:
    assert differs(claim(protocol, speakers, split), ours) == said

"""Settings that nobody writes by intention: `make trust` found that these were tracebacks, endless, or no clear line."""

from pathlib import Path

import pytest

from emotion_lightning.config import loader as settings
from emotion_lightning.config.paths import at_home
from emotion_lightning.corpora import table
from emotion_lightning.errors import UserError, printable
from emotion_lightning.protocols.published_folds import Folds
from emotion_lightning.studies import study

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS = {  # what is in the file, what the line must say
    "a billion laughs": (LAUGHS, "it is too large, or an anchor contains itself"),
    "an anchor in itself": ("a: &a {b: *a}\n", "an anchor contains itself"),
    "nested too deeply": ("a: " + "[" * 600, "it is nested too deeply"),
    "half a character": ('base: demo\nabout: "\\ud800"\n', "a text has half a character"),
    "binary": ("base: demo\nabout: !!binary aGk=\n", "line 2: not YAML: a setting cannot be of the type binary"),
    "a set": ("!!set {a}\n", "a setting cannot be of the type set"),
    "no number": ("base: demo\nseed: !!int x\n", "a value cannot be read"),
    "no truth": ("base: demo\nseed: !!bool x\n", "a value cannot be read"),
    "many digits": ("base: demo\nseed: " + "9" * 5_000, "a value cannot be read"),
    "a line break in a key": ('base: demo\n"a\\nb": 1\n', r"mine.yaml: a\nb: no such setting"),
    "a colour in a base": ('base: "\\e[31m\\n"\n', r"base: no experiment named '\x1b[31m\n'"),
    "a long corpus": (f"base: demo\ncorpora: {'x' * 5_000}\n", "mine.yaml: corpora.xxx"),
    "a long base": ("base: " + "a" * 300, "base: no experiment named 'aaa"),
    "a seed that no generator takes": ("base: demo\nseed: 4294967296\n", "seed: it should be less than 4294967296"),
    "an infinite number": (
        "base: demo\nfit: {weight_decay: .inf}\n",
        "fit.weight_decay: it should be a finite number",
    ),
    "no emotion": ("base: demo\nemotions: {happy: 3}\n", "emotions.happy: it should be an emotion, or off, not 3"),
    "a step too small": (
        "base: demo\nsearch: {fit.ema: {low: 1, high: 1.0e+14, step: 1.0e-300}}\n",
        "search.fit.ema: step is 1e-300",
    ),
    "a number too large": (
        f"base: demo\nsearch: {{fit.ema: {{low: 1, high: 1{'0' * 400}}}}}\n",
        "it should be a number",
    ),
}


@pytest.mark.parametrize(("text", "message"), TEXTS.values(), ids=TEXTS)
def test_a_hostile_file_is_one_line_with_its_name(text: str, message: str, in_tmp_path: Path) -> None:
    Path("mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        settings.load("mine.yaml")
    line = str(error.value)
    assert line.startswith("mine.yaml") and message in line and line.isprintable() and len(line) < 1_500


@pytest.mark.parametrize(
    "override",
    [".".join("a" * 2_000) + "=1", "corpora=" + "x" * 5_000, "a\nb=1", "a\udcff=1", "seed=*a", "seed=" + "[" * 999],
)
def test_a_hostile_override_is_one_line(override: str) -> None:
    with pytest.raises(UserError) as error:
        settings.load("demo", [override])
    assert str(error.value).startswith("SET: ") and str(error.value).isprintable() and len(str(error.value)) < 1_000


@pytest.mark.parametrize(
    "entry", ["protocols: {%s: }", "only: [%s]", "against: %s", "mean_of: [%s]", "set: {protocol.%s: 1}"]
)
def test_a_hostile_name_in_a_study_is_one_line(entry: str, in_tmp_path: Path) -> None:
    name = '"\\U0001fbfa\\e[31m\\n"'
    if "set" in entry:
        entry, name = entry.replace("protocol.%s", "%s"), name.replace('"', '"protocol.', 1)
    Path("mine.yaml").write_text(
        f"protocols: {{paper_random: }}\narms: {{demo: {{{entry % name}}}}}\n", encoding="utf-8"
    )
    with pytest.raises(UserError) as error:
        study.load("mine.yaml")
    line = str(error.value)
    assert line.startswith("mine.yaml: arms.demo.") and r"\U0001fbfa\x1b[31m\n" in line and line.isprintable()


def test_an_error_of_the_user_is_printable_whatever_is_named_in_it() -> None:
    assert str(UserError("'a\u202eb' is missing\n'\x1b[31m' too")) == "'a\\u202eb' is missing\n'\\x1b[31m' too"


def test_a_date_is_a_text(in_tmp_path: Path) -> None:
    Path("mine.yaml").write_text("base: demo\nabout: 2025-01-01\n", encoding="utf-8")
    assert settings.load("mine.yaml").about == "2025-01-01"


def test_a_file_with_the_mark_of_a_windows_editor_is_read(in_tmp_path: Path) -> None:
    Path("mine.yaml").write_text("base: demo\n", encoding="utf-8-sig")
    assert settings.load("mine.yaml").corpora == settings.load("demo").corpora


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".yaml", "a\0b.yaml"])
def test_a_name_that_no_file_can_have_is_one_line(name: str) -> None:
    for load in (settings.load, study.load):
        with pytest.raises(UserError) as error:
            load(name)
        assert str(error.value).isprintable()


def test_a_setting_without_a_name_is_of_its_arm(in_tmp_path: Path) -> None:
    text = 'arms: {a: {experiment: demo, set: {"": 1}}}\nprotocols: {random: {}}\n'
    Path("mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="study mine, arm a: '=1': an override is"):
        study.cells(study.load("mine.yaml"))


def test_a_speaker_with_a_colour_is_printed_with_its_code() -> None:
    with pytest.raises(UserError) as error:
        folds = {"corpora": ["ravdess"], "source": "nobody", "speakers": [["\x1b[31m", "\x1b[31m"], ["b"]]}
        settings.validate(Folds, folds, Path("mine.yaml"))
    assert r"\x1b[31m is listed twice" in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize(
    "override",
    [
        "audio.trim_db=1e-9",
        "features={name: mfcc, hop: 1}",
        "features={name: mfcc_row, seconds: 4.0e+18}",
        "augment.copies={times: 4611686018427387904}",
        "augment.slices={hop: 1.0e-9}",
    ],
)
def test_a_number_that_would_take_hours_or_all_memory_is_refused(override: str) -> None:
    with pytest.raises(UserError, match=r"it should be (greater|less) than or equal to"):
        settings.load("demo", [override])


def test_a_study_of_an_unknown_protocol_is_named(in_tmp_path: Path) -> None:
    Path("mine.yaml").write_text('arms: {demo: }\nprotocols: {"": {}}\n', encoding="utf-8")
    with pytest.raises(UserError, match="study mine: protocols: no protocol named ''"):
        study.cells(study.load("mine.yaml"))


@pytest.mark.parametrize("cell", ["~nobody/x.wav", "~", "x\0y.wav", '"two\nlines.wav"', "\x1b[31m.wav", "x" * 5_000])
def test_a_hostile_cell_is_one_line(cell: str, in_tmp_path: Path) -> None:
    Path("mine.csv").write_text(f"path,emotion,speaker\n{cell},sad,ann\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.csv line \d: there is no file '") as error:
        list(table.read(Path("nowhere"), path="mine.csv"))
    assert str(error.value).isprintable() and len(str(error.value)) < 300


def test_a_path_in_the_home_of_nobody_is_a_path() -> None:
    assert at_home(Path("~nobody-of-that-name/x.csv")) == Path("~nobody-of-that-name/x.csv")
    with pytest.raises(UserError, match="there is no file '~nobody"):
        list(table.read(Path("nowhere"), path="~nobody-of-that-name/x.csv"))


def test_a_printable_name_is_as_it_was() -> None:
    assert printable("Ärger 喜び.wav") == "Ärger 喜び.wav"
    assert printable("a\n\x1b[31m\u202e\udcff") == r"a\n\x1b[31m\u202e\udcff"

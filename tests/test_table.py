"""A corpus of one's own from a CSV table: what it may look like, and one clear line for each fault."""

import csv
from pathlib import Path

import pytest
from corpus_files import TABLE_FILES, TABLE_ROWS, fields, opened, put, touch, write

from emotion_lightning.config import loader as settings
from emotion_lightning.corpora import Corpus
from emotion_lightning.errors import UserError

HEADER = "path,emotion,speaker"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    touch(tmp_path, TABLE_FILES)
    return tmp_path


def read(folder: Path, *lines: str, encoding: str = "utf-8") -> Corpus:
    (folder / "mine.csv").write_text("\n".join(lines), encoding=encoding)
    return opened("table", folder / "nowhere", path=str(folder / "mine.csv"))


def test_a_table_has_all_that_a_clip_holds(sounds: Path) -> None:
    corpus = read(
        sounds,
        "id,path,emotion,speaker,sex,sentence,intensity,take,corpus,age",
        "one,sounds/anna_sad.wav,Sad,anna,F,hello,strong,2,calls,33",
        "two,sounds/ben_sad.wav,bored,ben,male,,,,,",
    )
    assert [fields(clip) for clip in corpus.clips] == [
        ("one", "sad", "calls-anna", "female", "hello", "strong", "2"),
        ("two", "bored", "table-ben", "male", "", "", ""),
    ]
    assert [clip.corpus for clip in corpus.clips] == ["calls", "table"]
    assert corpus.clips[0].path.samefile(sounds / "sounds" / "anna_sad.wav")
    assert corpus.warnings == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_read_as_spreadsheets_write_it(sounds: Path, delimiter: str, encoding: str, end: str) -> None:
    rows = [row.split(",") for row in (HEADER, *TABLE_ROWS, ",,", "")]
    touch(sounds, ["sounds/Zoë, sad; both.wav"])
    with (sounds / "mine.csv").open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
        writer.writerows([*rows, ["sounds/Zoë, sad; both.wav", "sad", "Zoë"]])
    corpus = opened("table", sounds / "nowhere", path=str(sounds / "mine.csv"))
    assert [clip.id for clip in corpus.clips if clip.speaker == "table-Zoë"] == ["sounds/Zoë, sad; both"]
    assert len(corpus.clips) == 7


def test_ids_are_those_of_the_paths_in_either_slash_and_format(sounds: Path) -> None:
    before = [clip.id for clip in read(sounds, HEADER, *TABLE_ROWS).clips]
    touch(sounds, [file.replace(".wav", ".FLAC") for file in TABLE_FILES])
    rows = [row.replace("/", "\\").replace(".wav", ".FLAC") for row in reversed(TABLE_ROWS)]
    assert [clip.id for clip in read(sounds, HEADER, *rows).clips] == before
    assert before[0] == "sounds/anna_angry"


def test_paths_are_relative_to_the_table_or_absolute(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{sounds}/sounds/anna_sad.wav,sad,anna", "../sounds/ben_sad.wav,sad,ben"]
    write(sounds, {"tables/mine.csv": "\n".join([HEADER, *rows])})
    monkeypatch.chdir(sounds)
    corpus = opened("table", sounds / "nowhere", path="tables/mine.csv")
    assert sorted(clip.path.name for clip in corpus.clips) == ["anna_sad.wav", "ben_sad.wav"]


def test_a_table_in_the_corpus_folder_needs_no_setting(tmp_path: Path) -> None:
    put("table", tmp_path / "data" / "table")
    assert len(opened("table", tmp_path / "data").clips) == 6


def test_a_table_there_with_its_sounds_elsewhere_needs_none_either(tmp_path: Path) -> None:
    touch(tmp_path, TABLE_FILES)
    rows = [f"../../{row}" for row in TABLE_ROWS]
    write(tmp_path / "data" / "table", {"table.csv": "\n".join([HEADER, *rows])})
    assert len(opened("table", tmp_path / "data").clips) == 6


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: there is no column 'path'"),
        (["file,emotion,speaker"], "line 1: there is no column 'path'"),
        (["path,emotions,speaker"], "line 1: there is no column 'emotion'; the columns are: path, emotions, speaker"),
        (["path,emotion,speaker,path"], "line 1: the column 'path' occurs twice"),
        ([HEADER, TABLE_ROWS[0], "sounds/ben_sad.wav,sda,ben"], "line 3: unknown emotion 'sda'; did you mean 'sad'?"),
        ([HEADER, "", "sounds/gone.wav,sad,ben"], "line 3: there is no file '"),
        ([HEADER, "sounds,sad,ben"], "line 2: there is no file '"),
        ([HEADER, f"{'a long text ' * 400},sad,ben"], "line 2: there is no file '"),
        (
            [HEADER, "sounds/ben_sad.wav,sad,ben", "sounds/../sounds/ben_sad.wav,angry,ben"],
            "ben_sad.wav' is also in line 2",
        ),
        (
            [HEADER, "sounds/notes.txt,sad,ben"],
            "line 2: 'sounds/notes.txt' has none of the formats .aif, .aifc, .aiff, .au, .caf, .flac,",
        ),
        ([HEADER, "sounds/ben_sad.wav,sad,"], "line 2: no speaker"),
        ([HEADER, ",sad,ben"], "line 2: no path"),
        ([HEADER], "there is no row below the header"),
        (
            [HEADER, TABLE_ROWS[0], "sounds/ben_sad.wav,sad,Anna"],
            "line 3: speaker 'table-Anna' is 'table-anna' in an earlier line",
        ),
        ([HEADER, "sounds/ben_sad.wav,sad"], "line 2: 2 cells, but 3 columns"),
        ([f"{HEADER},sex", "sounds/ben_sad.wav,sad,ben,x"], "line 2: unknown sex 'x'; use female or male"),
        ([HEADER, *TABLE_ROWS, TABLE_ROWS[1]], "line 8: the id 'sounds/anna_sad' is also in line 3"),
        (
            [f"{HEADER},id", f"{TABLE_ROWS[0]},a", f"{TABLE_ROWS[1]},a"],
            "line 3: the id 'a' is also in line 2",
        ),
        ([f"{HEADER},id", f"{TABLE_ROWS[0]},a", f"{TABLE_ROWS[0]},b"], "is also in line 2"),
    ],
)
def test_a_fault_is_reported_in_one_line_with_its_line_number(sounds: Path, lines: list[str], message: str) -> None:
    touch(sounds, ["sounds/notes.txt"])
    with pytest.raises(UserError) as error:
        read(sounds, *lines)
    assert message in str(error.value)
    assert "mine.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_in_another_encoding_is_reported(sounds: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.csv: this is not a CSV table in UTF-8"):
        read(sounds, HEADER, "sounds/ben_sad.wav,sad,Jürgen", encoding="latin-1")


def test_a_missing_table_is_reported_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpora\.table\.path: there is no file 'mine\.csv'"):
        opened("table", tmp_path, path="mine.csv")


def test_the_setting_works_in_an_experiment() -> None:
    assert settings.load("demo", ["corpora.table.path=my.csv"]).corpora["table"] == {"path": "my.csv"}

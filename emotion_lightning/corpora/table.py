"""A user's own recordings: a CSV table with one row for each clip, no code needed.

Required columns are `path`, `emotion` (a word of EMOTIONS) and `speaker`. Optional ones are `sex`, `sentence`, `intensity`,
`take`, `id` (default: the path without its extension) and `corpus` (default: "table"). Other columns are ignored. The file
is UTF-8, with commas, semicolons or tabs. Paths are relative to the folder of the table. No row is skipped: a wrong row is
an error with its line number.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from emotion_lightning.config.paths import at_home, is_file
from emotion_lightning.corpora import DECODED, EMOTIONS, About, Clip
from emotion_lightning.errors import UserError, nearest, printable, shortened

NEEDED = ("path", "emotion", "speaker")
SEX = {"": "", "f": "female", "female": "female", "m": "male", "male": "male"}

ABOUT = About(
    title="your CSV table (corpora.table.path=<file>)",
    licence="yours",
    citation="your own recordings",
    how_to_get="write {folder}/table.csv, or name another file with corpora.table.path (docs/corpora.md)",
)


def read(folder: Path, *, path: str = "") -> Iterator[Clip]:
    """Yields the clips of the CSV file `path`, or of table.csv in the corpus's folder.

    Raises:
        UserError: a row or the header is wrong.
    """
    default = (folder / "table.csv", folder / "table" / "table.csv")
    if path:
        table = at_home(Path(path))
        if not is_file(table):
            raise _wrong(f"corpora.table.path: there is no file '{shortened(path)}'")
    elif not (table := next((file for file in default if file.is_file()), Path())).is_file():
        return
    lines: dict[str, int] = {}  # line of each id and each file
    speakers: dict[str, str] = {}  # first spelling of each name in lower case
    for line, row in _rows(table):
        clip = _clip(table, line, row)
        for key in (f"id '{clip.id}'", f"path '{clip.path.resolve()}'"):
            if key in lines:
                raise _wrong(f"{table} line {line}: the {key} is also in line {lines[key]}")
            lines[key] = line
        if (first := speakers.setdefault(clip.speaker.lower(), clip.speaker)) != clip.speaker:
            raise _wrong(
                f"{table} line {line}: speaker '{clip.speaker}' is '{first}' in an earlier line; use one spelling"
            )
        yield clip
    if not lines:
        raise _wrong(f"{table}: there is no row below the header")


def _wrong(message: str) -> UserError:
    """Returns the error; cells may have line breaks and characters that change the terminal."""
    return UserError(shortened(printable(message), 1_000))


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the line number and the cells by column, without blank lines."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
            for name in NEEDED:
                if name not in columns:
                    listed = ", ".join(filter(None, columns)) or "none"
                    raise _wrong(f"{table} line 1: there is no column '{name}'; the columns are: {listed}")
            if repeated := next((name for name in columns if name and columns.count(name) > 1), ""):
                raise _wrong(f"{table} line 1: the column '{repeated}' occurs twice")
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                line = 1 + reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    raise _wrong(f"{table} line {line}: {len(cells)} cells, but {len(columns)} columns")
                yield line, dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _wrong(f"{table}: this is not a CSV table in UTF-8 ({error})") from None


def _clip(table: Path, line: int, row: dict[str, str]) -> Clip:
    for name in NEEDED:
        if not row[name]:
            raise _wrong(f"{table} line {line}: no {name}")
    emotion, sex, corpus = row["emotion"].lower(), row.get("sex", "").lower(), row.get("corpus") or "table"
    if emotion not in EMOTIONS:
        raise _wrong(
            f"{table} line {line}: unknown emotion '{shortened(row['emotion'])}'{nearest(emotion, EMOTIONS)}"
        )
    if sex not in SEX:
        raise _wrong(f"{table} line {line}: unknown sex '{shortened(row['sex'])}'; use female or male")
    written = Path(row["path"].replace("\\", "/"))  # a table from Windows
    path = table.parent / at_home(written)
    if not is_file(path):  # perhaps a long text, because the row's columns are shifted
        raise _wrong(f"{table} line {line}: there is no file '{shortened(str(path), 120)}'")
    if path.suffix.lower() not in DECODED:
        raise _wrong(f"{table} line {line}: '{written}' has none of the formats {', '.join(sorted(DECODED))}")
    return Clip(
        id=row.get("id") or written.with_suffix("").as_posix(),
        path=path,
        corpus=corpus,
        emotion=emotion,
        speaker=f"{corpus}-{row['speaker']}",
        sex=SEX[sex],
        sentence=row.get("sentence", ""),
        intensity=row.get("intensity", ""),
        take=row.get("take", ""),
    )

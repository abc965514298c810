"""Recordings of one's own without code: a CSV table with a row for each clip.

Columns: `path`, `emotion` (a word of EMOTIONS) and `speaker`; and, where known, `sex`, `sentence`, `intensity`, `take`,
`id` (else the path without its ending) and `corpus` (else "table"). Other columns are passed over. Comma, semicolon or tab
between the cells, UTF-8. Paths are relative to the table's folder. Nothing is skipped: a row at fault is told by its line.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from emotion_lightning.corpora import DECODED, EMOTIONS, About, Clip
from emotion_lightning.errors import UserError, nearest

NEEDED = ("path", "emotion", "speaker")
SEX = {"": "", "f": "female", "female": "female", "m": "male", "male": "male"}

ABOUT = About(
    title="a CSV table of your own (corpora.table.path=<file>)",
    licence="yours",
    citation="your own recordings",
    how_to_get="write data/table/table.csv, or name another with corpora.table.path (docs/corpora.md)",
)


def read(folder: Path, *, path: str = "") -> Iterator[Clip]:
    """`path`: the CSV file; without it, table.csv in the corpus's folder is read if it is there."""
    default = (folder / "table.csv", folder / "table" / "table.csv")
    if path:
        table = Path(path).expanduser()
        if not table.is_file():
            raise UserError(f"corpora.table.path: there is no file '{path}'")
    elif not (table := next((file for file in default if file.is_file()), Path())).is_file():
        return
    lines: dict[str, int] = {}  # a clip's id or file → the line it was on
    speakers: dict[str, str] = {}  # in small letters → as first written
    for line, row in _rows(table):
        clip = _clip(table, line, row)
        for key in (f"id '{clip.id}'", f"path '{clip.path}'"):
            if key in lines:
                raise UserError(f"{table} line {line}: the {key} is that of line {lines[key]} already")
            lines[key] = line
        if (first := speakers.setdefault(clip.speaker.lower(), clip.speaker)) != clip.speaker:
            raise UserError(
                f"{table} line {line}: speaker '{clip.speaker}' was '{first}' before; write one name one way"
            )
        yield clip
    if not lines:
        raise UserError(f"{table}: no clip below its header")


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column → cell), blank lines left out."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
            for name in NEEDED:
                if name not in columns:
                    there = ", ".join(filter(None, columns)) or "none"
                    raise UserError(f"{table} line 1: there is no column '{name}'; the columns are: {there}")
            if twice := next((name for name in columns if name and columns.count(name) > 1), ""):
                raise UserError(f"{table} line 1: the column '{twice}' is there twice")
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                line = 1 + reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    raise UserError(f"{table} line {line}: {len(cells)} cells under {len(columns)} columns")
                yield line, dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: no CSV table in UTF-8 ({error})") from None


def _clip(table: Path, line: int, row: dict[str, str]) -> Clip:
    for name in NEEDED:
        if not row[name]:
            raise UserError(f"{table} line {line}: no {name}")
    emotion, sex, corpus = row["emotion"].lower(), row.get("sex", "").lower(), row.get("corpus") or "table"
    if emotion not in EMOTIONS:
        raise UserError(f"{table} line {line}: unknown emotion '{row['emotion']}'{nearest(emotion, EMOTIONS)}")
    if sex not in SEX:
        raise UserError(f"{table} line {line}: unknown sex '{row['sex']}'; there are: female, male")
    written = Path(row["path"].replace("\\", "/"))  # a table from Windows
    path = table.parent / written.expanduser()
    if not path.is_file():
        raise UserError(f"{table} line {line}: there is no file '{path}'")
    if path.suffix.lower() not in DECODED:
        raise UserError(f"{table} line {line}: '{written}' is none of {', '.join(sorted(DECODED))}")
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

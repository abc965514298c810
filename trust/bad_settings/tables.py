"""CSV tables of a corpus of one's own, whose cells hypothesis draws."""

from pathlib import Path

from hypothesis import strategies as st

from emotion_lightning.corpora import table
from trust.bad_settings.drawn import checked
from trust.bad_settings.judge import fault_of
from trust.rows import Row, Setting

WORDS = (
    "path", "emotion", "speaker", "sex", "id", "a.wav", "b.wav", "c.txt", "ü.flac", "sad", "Angry", "ann", "Ann", "f", "",
)  # fmt: skip
ODD = (
    "~", "~nobody/x.wav", "/dev/zero", "x" * 5_000, "a\nb", "..", "\0", "'", '"', "\ufeff", "\x1b[31m", "C:\\a.wav", "sad ",
)  # fmt: skip


def fuzzed(setting: Setting) -> Row:
    """Tables of cells that are right, of another column, or drawn; in several encodings and with any delimiter."""
    for name in ("a.wav", "b.wav", "c.txt", "ü.flac"):
        Path(name).touch()
    cell = st.sampled_from([*WORDS, *ODD]) | st.text(max_size=8)
    quoted = cell.map(lambda text: '"' + text.replace('"', '""') + '"')
    line = st.lists(cell | quoted, max_size=6)
    good = st.lists(st.tuples(st.sampled_from(["a.wav", "b.wav"]), cell, cell | quoted).map(list), max_size=3)
    lines = st.tuples(st.just(["path", "emotion", "speaker"]), good, st.lists(line, max_size=3)).map(
        lambda t: [t[0], *t[1], *t[2]]
    )
    text = st.tuples(lines | st.lists(line, max_size=5), st.sampled_from(",;\t|")).map(
        lambda drawn: "\n".join(drawn[1].join(cells) for cells in drawn[0])
    )
    encoding = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
    drawn = st.tuples(text, encoding).map(lambda t: t[0].encode(t[1], "replace")) | st.binary(max_size=60)

    def check(content: bytes) -> str:
        Path("mine.csv").write_bytes(content)
        return fault_of(lambda: list(table.read(Path("nowhere"), path="mine.csv")), "mine.csv")

    return checked("fuzzed CSV tables", setting.times(3_000, 100), setting, check, drawn)

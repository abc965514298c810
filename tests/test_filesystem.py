"""How files are written."""

from pathlib import Path

import pytest

from emotion_lightning.data.filesystem import replacing


def test_a_file_is_replaced_in_one_step_or_stays(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    with replacing(file) as part:
        part.write_text("first")
        assert part.suffix == ".csv" and not file.exists()
    with pytest.raises(OSError, match="disk"), replacing(file) as part:
        part.write_text("sec")
        assert file.read_text() == "first"
        raise OSError("the disk is full")
    assert file.read_text() == "first" and list(tmp_path.iterdir()) == [file]
    (tmp_path / ".part-table.csv").write_text("left by a kill")
    with replacing(file) as part:
        part.write_text("second")
    assert file.read_text() == "second" and list(tmp_path.iterdir()) == [file]

"""The predictions that a run keeps are read again."""

from pathlib import Path

import pytest

from emotion_lightning.training.predictions import parse_predictions


@pytest.mark.parametrize("column", ["split", "side"])
def test_predictions_of_old_and_new_runs_are_read(column: str, tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    lines = [
        f"{column},corpus,clip,speaker,emotion,predicted,happy,sad",
        "val,demo,a,s1,happy,happy,0.9,0.1",
        "test,demo,b,s2,sad,happy,0.6,0.4",
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    predictions = parse_predictions(file)
    assert (predictions.classes, predictions.clips, predictions.speakers) == (("happy", "sad"), ["demo/b"], ["s2"])
    assert predictions.labels.tolist() == [1] and predictions.probabilities.tolist() == [[0.6, 0.4]]
    assert predictions.fields == {"corpus": ["demo"], "sex": [""], "intensity": [""], "sentence": [""]}

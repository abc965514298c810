"""The scoring server in this process: answers, limits, and errors that a client can read."""

import base64
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model
from emotion_lightning.serving.find import mlflow_folder
from emotion_lightning.serving.pyfunc import NO_PATHS
from emotion_lightning.serving.server import application, serve
from emotion_lightning.training.evaluation import RunResult


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (NO_PATHS, "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"):
        monkeypatch.setenv(name, "")  # so that monkeypatch removes what the server sets
        monkeypatch.delenv(name)


@pytest.fixture
def client(runs: dict[str, RunResult]) -> Iterator[TestClient]:
    with TestClient(application(mlflow_folder(run=runs["svm"].run_id), max_mb=2, seconds=60)) as client:
        yield client


def send(client: TestClient, *rows: dict, **more: object) -> tuple[int, dict]:
    answer = client.post("/invocations", json={"dataframe_records": rows, **more})
    return answer.status_code, answer.json()


def encoded(file: Path) -> dict[str, str]:
    return {"audio": base64.b64encode(file.read_bytes()).decode()}


def test_answers_are_those_of_the_model_in_process(
    client: TestClient, runs: dict[str, RunResult], demo_data: Path
) -> None:
    assert client.get("/ping").status_code == 200
    files = sorted(demo_data.rglob("*.wav"))[:8]
    status, answer = send(client, *map(encoded, files))
    assert status == 200
    model = open_model(runs["svm"].run_id)
    for file, row in zip(files, answer["predictions"], strict=True):
        expected = model.file(file)
        assert {e: row[e] for e in model.about.classes} == pytest.approx(expected.probabilities, abs=1e-6)
        assert row["emotion"] == expected.emotion and row["emotions"] == list(expected.emotions)
    status, answer = send(client, encoded(files[0]), params={"min_confidence": 0.99})
    assert status == 200 and answer["predictions"][0]["emotion"] == "uncertain"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"path": "/etc/hostname"}, "row 0: this server opens no files"),
        ({"audio": "not base64"}, "row 0: audio is not base64"),
        ({"audio": base64.b64encode(b"no sound").decode()}, "row 0: corrupt"),
        ({"samples": [0.0] * 16_000, "rate": 16_000}, "row 0: silent"),
        ({"samples": [0.1], "rate": 5}, "row 0: a rate of 5 Hz"),
        ({"sound": "x"}, "no column audio, path or samples"),
        ({}, "no column audio, path or samples"),
    ],
)
def test_a_bad_row_gets_400_with_the_reason_alone(client: TestClient, row: dict, message: str) -> None:
    status, answer = send(client, row)
    assert status == 400 and list(answer) == ["error"] and answer["error"].startswith(message)
    assert "Traceback" not in answer["error"]


@pytest.mark.parametrize("body", [b"{", b"[1]", b"{}", b"\xff\xfe", b"null", b'{"dataframe_records": 3}'])
def test_a_bad_body_gets_400(client: TestClient, body: bytes) -> None:
    answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]


def test_a_body_that_is_too_large_gets_413_whether_its_length_is_announced_or_not(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    sent = []

    def pieces() -> Iterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b" " * 100_000

    for content in (b" " * 2_500_000, pieces()):
        answer = client.post("/invocations", content=content, headers=headers)
        assert answer.status_code == 413 and answer.json() == {"error": "the request is larger than 2 MB"}


def test_a_least_confidence_outside_0_to_1_and_deep_json_get_400(client: TestClient, demo_data: Path) -> None:
    file = next(demo_data.rglob("*.wav"))
    status, answer = send(client, encoded(file), params={"min_confidence": 7})
    assert status == 400 and answer["error"] == "min_confidence is 7; it must be from 0 to below 1"
    nested = client.post("/invocations", content=b"[" * 100_000, headers={"Content-Type": "Application/JSON"})
    assert nested.status_code == 400 and "nested" in nested.json()["error"]


def test_an_address_that_is_not_of_this_machine_is_refused_in_one_line(runs: dict[str, RunResult]) -> None:
    folder = mlflow_folder(run=runs["svm"].run_id)
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(UserError, match=f"HOST={host}: not an address of this machine"):
            serve(folder, host, 5999, 1, 1, print)
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        with pytest.raises(UserError, match="is in use; choose another one, for example PORT="):
            serve(folder, "127.0.0.1", used.getsockname()[1], 1, 1, print)


def test_another_path_and_another_method_are_refused(client: TestClient) -> None:
    assert client.post("/predict", content=b"{}").status_code == 404
    assert client.put("/invocations", content=b"{}").status_code == 405


def test_what_is_not_json_gets_415(client: TestClient) -> None:
    for headers in ({}, {"Content-Type": "text/csv"}):
        answer = client.post("/invocations", content=b"audio", headers=headers)
        assert answer.status_code == 415 and "application/json" in answer.json()["error"]


def test_a_request_that_takes_too_long_gets_504(runs: dict[str, RunResult]) -> None:
    app = application(mlflow_folder(run=runs["small_cnn"].run_id), max_mb=200, seconds=1)
    wave = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000).round(3).tolist()
    with TestClient(app) as client:
        status, answer = send(client, *[{"samples": wave, "rate": 16_000}] * 1000)
    assert status == 504 and answer == {"error": "it took longer than 1 s"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[1]", 'a JSON object is needed, such as {"dataframe_records": [{"audio": "…"}]}'),
        ("{", "the request is not JSON (Expecting property name"),
        ('{"dataframe_records": [{"audio": 3}]}', "row 0: none of audio, path and samples is given"),
        ('{"dataframe_records": [{"audio": ""}], "params": 3}', "Parameters"),
        ('{"dataframe_records": 3}', "Invalid input. Dataframe records format must be a list"),
    ],
)
def test_the_reason_is_one_line_without_the_data(client: TestClient, body: str, message: str) -> None:
    answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    reason = answer.json()["error"]
    assert reason.startswith(message) and "\n" not in reason and len(reason) <= 1000


def test_no_code_in_the_folder_of_a_served_model_is_run(runs: dict[str, RunResult], tmp_path: Path) -> None:
    folder = shutil.copytree(mlflow_folder(run=runs["svm"].run_id), tmp_path / "model")
    for script in (folder / "pyfunc.py", folder / "code" / "emotion_lightning" / "serving" / "pyfunc.py"):
        script.write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')", encoding="utf-8")
    with TestClient(application(folder, max_mb=2, seconds=60)) as client:
        assert client.get("/ping").status_code == 200
    assert not (tmp_path / "was_run").exists()

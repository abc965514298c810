"""Commands with a mistake: each ends with exit status 2 and one line that says what is wrong and what would be right."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from processes import copy_ready_store

from emotion_lightning import corpora, models
from emotion_lightning.config import parts

SMALL = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 2, "val_folds": 2},
    "features": {"name": "mfcc", "frames": 64},
    "model": {"name": "small_cnn", "width": 8},
    "fit": {"stages": {"main": {"epochs": 1}}, "precision": "32", "log_model": False},
}
MODEL = "from emotion_lightning.models import Network\n"
FILES = {
    "experiments/bad_yaml.yaml": "corpora: {demo: }\nmodel: [\n",
    "experiments/list.yaml": "- corpora\n",
    "experiments/loop.yaml": "base: loop\n",
    "experiments/no_base.yaml": "base: resnet_augg\n",
    "experiments/named.yaml": "base: small\nname: other\n",
    "experiments/studies/no_arm.yaml": "protocols: {speaker_folds: }\narms: {nobody: }\n",
    "experiments/studies/no_protocol.yaml": "protocols: {speaker_fold: }\narms: {small: }\n",
    "experiments/studies/small.yaml": "protocols: {speaker_folds: {folds: 2}}\narms: {small: }\n",
    "silent/empty.wav": "",
    "parts/models/syntax.py": "def build(:\n",
    "parts/models/imports.py": "import a_library_that_nobody_has\n",
    "parts/models/no_build.py": MODEL,
    "parts/models/a_list.py": "def build(shape, classes):\n    return []\n",
    "parts/models/shape.py": MODEL
    + "from torch import nn\n\n\nclass Two(Network):\n    def forward(self, x, valid):\n        return x[:, 0, :2, 0]\n\n\n"
    "def build(shape, classes):\n    return Two()\n",
    "a_file": "",
}
PARTS = ("--parts", "parts")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    small = SMALL | {"data": {"cache": str(demo_data)}}
    (folder / "experiments" / "small.yaml").write_text(yaml.safe_dump(small))
    copy_ready_store(folder)
    return folder


@pytest.fixture(autouse=True)
def packages_as_before() -> Iterator[None]:
    """Parts of a test must not be found by the next one."""
    before = {package: list(package.__path__) for package in (corpora, models)}
    yield
    for package, path in before.items():
        package.__path__[:] = path


COMMANDS = {
    # the experiment and its settings
    "train demoo": "no experiment named 'demoo'; did you mean 'demo'?",
    "train nowhere.yaml": "there is no file 'nowhere.yaml'",
    "train bad_yaml": "experiments/bad_yaml.yaml line 3: not YAML",
    "train list": "experiments/list.yaml: the file must be a mapping of settings",
    "train loop": "experiments/loop.yaml: base: circular base",
    "train no_base": "experiments/no_base.yaml: base: no experiment named 'resnet_augg'; did you mean 'resnet_aug'?",
    "train named": "experiments/named.yaml: name: an experiment is named by its file",
    "train small seed": "SET: 'seed': an override is key.path=value",
    "train small =5": "SET: '=5': an override is key.path=value",
    "train small seed=[": "SET: 'seed=[': the value is not YAML",
    "train small seed=one": "SET: seed: it should be a valid integer",
    "train small seed=-1": "SET: seed: it should be greater than or equal to 0",
    "train small sed=1": "SET: sed: no such setting; did you mean 'seed'?",
    "train small fit.epochs=3": "SET: fit.epochs: no such setting",
    "train small fit.precision=bf17": "SET: fit.precision: it should be 'auto', '32', 'bf16-mixed' or '16-mixed'",
    "train small fit.stages.mian.epochs=3": "SET: fit.stages.mian: there is no such stage; did you mean 'main'?",
    "train small fit.stages.main=off": "fit.stages: no stage has an epoch",
    "train small fit.stages.main.size=64": "fit.stages.main.size: only pictures can be resized, and mfcc is not one",
    "train small 'features={name: picture, height: 32, width: 48}' model=lstm fit.stages.main.size=16": "fit.stages.main: ",
    "train small model=cnn_lstm model.hidden=4611686018427387904": "Overflow when unpacking long",
    "train small model.widht=8": "SET: model.widht: no such setting; did you mean 'width'?",
    "train small model=small_cn": "SET: model: no model named 'small_cn'; did you mean 'small_cnn'?",
    "train small features=mfc": "SET: features: no feature named 'mfc'; did you mean 'mfcc'?",
    "train small protocol=speaker_fold": "SET: protocol: no protocol named 'speaker_fold'; did you mean 'speaker_folds'?",
    "train small protocol.fold=2": "protocol.fold: 2 is not one of the folds 0…1",
    "train small protocol.folds=40": "protocol.folds: 40 folds need as many speakers",
    "train small augment.mixup=off": "SET: augment.mixup: there is nothing to switch off",
    "train small augment.mixpu.alpha=0.2": "SET: augment.mixpu: no augmentation named 'mixpu'; did you mean 'mixup'?",
    "train small corpora.demo=off": "corpora: no corpus is left; switch one on, for example corpora.ravdess=on",
    "train small corpora.ravdes=": "SET: corpora.ravdes: no corpus named 'ravdes'; did you mean 'ravdess'?",
    "train small corpora.demo.speakers=40": "demo: speakers=40 must be 1 to 24",
    "train small emotions.happyy=off": "emotions: no emotion 'happyy'; did you mean 'happy'?",
    "train small data.batch_size=0": "SET: data.batch_size: it should be greater than or equal to 1",
    "train small corpora=[]": "SET: corpora: no corpus is left",
    "train small corpora=emdb": "SET: corpora.emdb: no corpus named 'emdb'; did you mean 'emodb'?",
    "train small --corpora 'emodb ravdes'": "SET: corpora.ravdes: no corpus named 'ravdes'; did you mean 'ravdess'?",
    "train small --folds 3": "FOLDS=3: FOLDS=all trains every fold",
    "train small --folds all --resume ffffffff": "RESUME: FOLDS=all resumes every killed fold by itself",
    "train small --folds all protocol=paper_random": "FOLDS=all: protocol paper_random has no folds",
    "train small --jobs 2": "JOBS: one run is one job; FOLDS=all trains every fold",
    "train small protocol=one_speaker_out protocol.speaker=savee-DC": "did you mean 'DEMO-savee-DC'?",
    "train small protocol=one_speaker_out protocol.speaker=03": "did you mean 'DEMO-ravdess-03'?",
    # folders and files
    "train svm --data nowhere": "the folder 'nowhere' does not exist, so there is no clip of RAVDESS",
    "train svm --data silent": "no clip of RAVDESS in 'silent/ravdess' or 'silent'",
    "train small --cache a_file/cache": "data.cache: 'a_file/cache' cannot be written",
    "train small --cache /proc/nothing": "data.cache: '/proc/nothing' cannot be written",
    "--parts nowhere train small": "PARTS: there is no folder 'nowhere'",
    "train small --resume ffffffff": "no runs start with 'ffffffff'",
    "data ravdes": "no corpus named 'ravdes'; did you mean 'ravdess'?",
    # parts of one's own
    "--parts parts train small model=syntax": "parts/models/syntax.py, line 1:",
    "--parts parts train small model=imports": "parts/models/imports.py, line 1: ModuleNotFoundError",
    "--parts parts train small model=no_build": "parts/models/no_build.py: a model needs a function `build`",
    "--parts parts train small model=a_list": "models/a_list.py: build returned a list",
    "--parts parts train small model=shape": "models/shape.py: forward returned the shape (1, 2) for one clip",
    # studies, reports, comparisons
    "study smal": "no study named 'smal'; did you mean 'small'?",
    "study no_arm": "no experiment named 'nobody'",
    "study no_protocol": "no protocol named 'speaker_fold'; did you mean 'speaker_folds'?",
    "study small sed=1": "sed: no such setting; did you mean 'seed'?",
    "honesty smal": "no experiment named 'smal'; did you mean 'small'?",
    "honesty small --folds 0": "FOLDS=0: at least one fold is needed",
    "report small": "no study 'small' has been run",
    "compare aaaaaaaa bbbbbbbb": "no runs start with 'aaaaaaaa'",
    "compare aaaaaaaa aaaaaaaa": "A and B are the same, aaaaaaaa",
    "compare first second": "'first' is not the id of a run",
    "compare small svm --study small": "no study 'small' has been run",
    "audit smal": "no experiment named 'smal'; did you mean 'small'?",
    "audit small protocol=nothing": "no protocol named 'nothing'",
    # predictions, the server, pages
    "predict nowhere --run ffffffff": "AUDIO: there is no file or folder 'nowhere'",
    "predict parts --run ffffffff": "AUDIO: no audio file",
    "predict silent --run ffffffff": "no runs start with 'ffffffff'",
    "predict silent --run ''": "RUN or MODEL: one of them is needed",
    "predict silent --run a --model b": "RUN and MODEL are both given",
    "predict silent --run a --out silent": "OUT: 'silent' is not the name of a .csv or .json file",
    "predict '' --run ffffffff": "AUDIO: a file, a folder or a pattern is needed",
    "predict --run ffffffff": "AUDIO: a file, a folder or a pattern is needed",
    "predict silent --model parts": "'parts' is not a model: it has neither package.json nor MLmodel",
    "predict silent --model nobody": "'nobody' is neither a folder nor a registered model; nothing is registered",
    "import-run nowhere": "MLFLOW_TRACKING_URI is not set",
}
ADDRESSES = {
    "http://ann:s3cret@127.0.0.1:9": "the MLflow server at http://ann:***@127.0.0.1:9 does not answer (connection refused)",
    "127.0.0.1:5000": "MLFLOW_TRACKING_URI=127.0.0.1:5000: not the address of an MLflow server or database",
    "./mlruns": "MLFLOW_TRACKING_URI=./mlruns: not the address",
    "mlflow-artifacts:/x": "MLFLOW_TRACKING_URI=mlflow-artifacts:/x: not the address",
    "htp://127.0.0.1:5000": "MLFLOW_TRACKING_URI=htp://127.0.0.1:5000: not the address",
    "databricks": "MLFLOW_TRACKING_URI=databricks: not the address",
    "postgresql+psycopg2://ann:s3cret@127.0.0.1:9/mlflow": "the MLflow database at postgresql+psycopg2://ann:***@127.0.0.1:9",
    "sqlite:///experiments/list.yaml": "cannot be used (file is not a database)",
    "sqlite:////proc/nothing/mlflow.db": "the MLflow database at sqlite:////proc/nothing/mlflow.db cannot be used",
}


def without_notes(printed: str) -> str:
    """Returns what a command printed without the notes on its clips, which come before the error."""
    return "".join(line for line in printed.splitlines(keepends=True) if not line.startswith("note: "))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_command_is_one_line(command: str, workplace: Path, refusal: Callable[..., str]) -> None:
    line = without_notes(refusal(workplace, *shlex.split(command)))
    assert COMMANDS[command] in line and line.startswith("error: ")
    assert len(line.splitlines()) == 1 and "Traceback" not in line


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_wrong_tracking_address_is_one_line_without_its_password(
    address: str, workplace: Path, refusal: Callable[..., str]
) -> None:
    line = without_notes(refusal(workplace, "train", "small", MLFLOW_TRACKING_URI=address))
    assert ADDRESSES[address] in line and "s3cret" not in line
    assert len(line.splitlines()) == 1 and "Traceback" not in line


@pytest.mark.parametrize("name", ["feature%2Fx", "my%20work", "what?", "c#"])
def test_a_folder_whose_name_no_address_can_have_is_refused_before_corpora_are_read(
    name: str, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / name).mkdir()
    words = ("train", "svm", "--data", "nowhere")
    line = refusal(tmp_path / name, *words, MLFLOW_TRACKING_URI="")  # tests before may have left one
    assert "in its name, which an MLflow address cannot have; rename it" in line and len(line.splitlines()) == 1


def test_a_file_in_the_way_is_named(workplace: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    shutil.copytree(workplace, folder := tmp_path / "copy")
    (folder / "reports").touch()
    line = without_notes(refusal(folder, "study", "small"))
    assert line.startswith("error: 'reports/small' cannot be written, because '") and len(line.splitlines()) == 1
    shutil.rmtree(folder / "mlruns")
    (folder / "mlruns").touch()
    assert (
        without_notes(refusal(folder, "train", "small", MLFLOW_TRACKING_URI="")) == "error: 'mlruns': File exists\n"
    )


def test_a_port_that_does_not_exist_is_refused(workplace: Path, refusal: Callable[..., str]) -> None:
    said = refusal(workplace, "ui", "--port", "80000")
    assert "65535" in said and "Traceback" not in said


def test_a_study_without_its_corpora_leaves_the_report_as_it_was(
    workplace: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    shutil.copytree(workplace, folder := tmp_path / "copy")
    (folder / "reports" / "honesty_svm").mkdir(parents=True)
    (folder / "reports" / "honesty_svm" / "report.md").write_text("finished")
    assert "there is no clip of RAVDESS" in refusal(folder, "honesty", "svm", "--data", "nowhere")
    assert [file.read_text() for file in (folder / "reports").rglob("*.md")] == ["finished"]


def test_a_wrong_claim_is_reported_before_the_first_run(
    workplace: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    shutil.copytree(workplace, folder := tmp_path / "copy")
    (folder / "experiments" / "claims").mkdir()
    (folder / "experiments" / "claims" / "mine.yaml").write_text("source: mine\nfigures: [{metric: wer}]\n")
    line = refusal(folder, "study", "small")
    assert "experiments/claims/mine.yaml" in line and not (folder / "reports").exists()


def test_the_parts_of_a_test_are_not_left_for_the_next(workplace: Path) -> None:
    assert "shape" not in parts.names("models")

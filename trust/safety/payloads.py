"""Files that somebody else wrote, in each place where one of ours is read: pickles, scripts, YAML that makes objects."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving.recogniser import decodable
from trust.safety.scene import SMALL, Place, Scene


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def _planted(target: Path, writer: Callable[[Path, Payload], None], mark: Path) -> None:
    writer(target, Payload(mark))


def pickles(scene: Scene) -> Iterator[Place]:
    """Yields each place that a pickle or a script can be put in."""
    network, svm = scene.runs["demo_small_cnn"], scene.runs["demo_svm"]
    predict = ("predict", scene.sound, "--run")
    for form, body in FORMS.items():
        target = scene.file(network, "checkpoints/best.ckpt")
        yield Place(
            f"best.ckpt as {form}",
            _put(target, body),
            ("explain", network),
            "holds other things than settings and weights",
        )
        yield Place(f"model.ckpt as {form}", _put(scene.file(network, "model.ckpt"), body), (*predict, network))
        yield Place(f"model.skops as {form}", _put(scene.file(svm, "model.skops"), body), (*predict, svm))
    yield Place(
        "model.skops with foreign types", lambda mark: _foreign(scene.file(svm, "model.skops"), mark), (*predict, svm)
    )
    cache = scene.folder / ".cache"
    for pattern in ("waves-*/index.npz", "mfcc-*/features.npy", "mfcc-*/valid.npy"):
        for form, writer in ARRAYS.items():
            target = next(cache.glob(pattern))
            yield Place(
                f"cache {pattern} as {form}",
                partial(_planted, target, writer),
                ("train", "demo_svm", *SMALL),
            )
    model = scene.file(svm, "MLmodel").parent
    yield Place(
        "serve: a model without its package", lambda mark: shutil.rmtree(model / "artifacts"), ("serve", "--run", svm)
    )


def served_scripts(scene: Scene) -> Iterator[Place]:
    """Yields models whose folder has code that MLflow's own loader would run. They may be served, but only by our code."""
    model = scene.file(scene.runs["demo_svm"], "MLmodel").parent
    words = ("serve", "--model", str(model))

    def script(mark: Path) -> None:
        (model / "pyfunc.py").write_text(f"open({str(mark)!r}, 'w')\n", encoding="utf-8")

    def loader(mark: Path) -> None:
        (model / "code" / "hostile.py").write_text(f"open({str(mark)!r}, 'w')\n", encoding="utf-8")
        text = (model / "MLmodel").read_text(encoding="utf-8").replace("mlflow.pyfunc.model", "hostile")
        (model / "MLmodel").write_text(text, encoding="utf-8")

    def cloudpickle(mark: Path) -> None:
        _write(model / "python_model.pkl", pickle.dumps(Payload(mark)))
        text = (
            (model / "MLmodel")
            .read_text(encoding="utf-8")
            .replace("model_code_path:", "other: x\n    python_model: python_model.pkl #")
        )
        (model / "MLmodel").write_text(text, encoding="utf-8")

    for name, plant in {"script": script, "loader_module": loader, "python_model": cloudpickle}.items():
        yield Place(f"MLflow model with a foreign {name}", plant, words)


def _put(file: Path, body: Callable[[Path], bytes]) -> Callable[[Path], None]:
    return lambda mark: _write(file, body(mark))


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _saved(thing: Any, old: bool = False) -> bytes:
    out = io.BytesIO()
    torch.save(thing, out, _use_new_zipfile_serialization=not old)
    return out.getvalue()


FORMS: dict[str, Callable[[Path], bytes]] = {
    "a pickle": lambda mark: pickle.dumps(Payload(mark)),
    "torch's format": lambda mark: _saved({"hyper_parameters": Payload(mark), "state_dict": {}}),
    "torch's old format": lambda mark: _saved({"state_dict": Payload(mark)}, old=True),
}
ARRAYS: dict[str, Callable[[Path, Payload], Any]] = {
    "an array of objects": lambda file, payload: (np.savez if file.suffix == ".npz" else np.save)(
        file, np.array([payload], object)
    ),
    "a pickle": lambda file, payload: file.write_bytes(pickle.dumps(payload)),
}


def _foreign(file: Path, mark: Path) -> None:
    """Replaces the estimator by a call of `open`, in the words of skops."""
    with zipfile.ZipFile(file) as archive:
        about = archive.read("model.json")
    call = {"__class__": "open", "__module__": "io", "__loader__": "FunctionNode", "__id__": 2, "content": "open"}
    schema = {
        "__class__": "partial", "__module__": "functools", "__loader__": "PartialNode", "__id__": 1,
        "content": {"func": call, "args": call, "kwds": call, "namespace": call},
        "protocol": 2, "_skops_version": "0.13",
    }  # fmt: skip
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
        archive.writestr("model.json", about)
        archive.writestr("mark", str(mark))


def yaml_files(scene: Scene) -> Iterator[Place]:
    """Yields each YAML file that is read, with a tag that makes Python objects."""
    svm = scene.runs["demo_svm"]
    experiments, model = scene.folder / "experiments", scene.file(svm, "MLmodel")

    def tagged(file: Path) -> Callable[[Path], None]:
        def plant(mark: Path) -> None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"about: !!python/object/apply:builtins.open ['{mark}', w]\n", encoding="utf-8")

        return plant

    parts = scene.folder / "own"
    for name, file, words in (
        ("experiment", experiments / "mine.yaml", ("train", "mine")),
        ("study", experiments / "studies" / "mine.yaml", ("study", "mine")),
        ("published figures", experiments / "claims" / "mine.yaml", ("experiments",)),
        ("weights", parts / "weights" / "mine.yaml", ("--parts", str(parts), "weights", "mine")),
        ("MLmodel", model, ("predict", scene.sound, "--run", svm)),
        ("MLmodel of a folder", model, ("predict", scene.sound, "--model", str(model.parent))),
        ("settings of a run", scene.file(svm, "settings.yaml"), ("explain", svm)),
    ):
        yield Place(f"{name}: python/object", tagged(file), words)
    override = f"protocol.fold=!!python/object/apply:builtins.open ['{scene.mark}', w]"
    yield Place("SET: python/object", lambda mark: None, ("train", "demo_svm", override))
    yield Place("package.json: YAML", tagged(scene.file(svm, "package.json")), ("predict", scene.sound, "--run", svm))


def playlists(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yields lists under the name of a sound that would make ffmpeg open another file, and "opened" where it does."""
    for label, text in {
        "an HLS playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{scene.sound}\n#EXT-X-ENDLIST\n",
        "a list of files": f"ffconcat version 1.0\nfile '{Path(scene.sound).name}'\n",
    }.items():
        file = Path(scene.sound).with_name("upload.m4a")
        file.write_text(text)
        try:
            with decodable(file):
                yield label, "opened"
        except BadClip:
            yield label, ""
        finally:
            file.unlink()

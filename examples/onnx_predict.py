"""Prints the emotion of sound files with an export of emotion_lightning, without torch.

pip install numpy onnxruntime soundfile soxr
python onnx_predict.py exports/03a60947/model.onnx clip.wav another.wav
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr

FRAME, HOP = 2048, 512  # samples, of the frames whose level is compared when silence is cut


def read(path, settings):
    """Returns the waveform (samples,) of a file: mono, without DC and silence at its ends, at the model's rate."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    wave, peaks = samples.mean(axis=1), np.abs(samples).max(axis=0)
    if np.abs(wave).max() < 0.1 * peaks.max():  # channels that cancel each other
        wave = samples[:, peaks.argmax()]
    wave = wave - wave.mean()
    if settings["trim_db"] is not None:
        wave = trim(wave, settings["trim_db"])
    return wave if rate == settings["sample_rate"] else soxr.resample(wave, rate, settings["sample_rate"])


def trim(wave, decibel):
    """Cuts frames at both ends whose level is `decibel` below the loudest one."""
    padded = np.zeros(len(wave) + FRAME, np.float32)
    padded[FRAME // 2 : FRAME // 2 + len(wave)] = wave
    hops = np.square(padded[: len(padded) // HOP * HOP].reshape(-1, HOP)).sum(1)
    power = np.convolve(hops, np.ones(FRAME // HOP, np.float32), "valid")
    loud = np.flatnonzero(power > power.max() * 10 ** (-decibel / 10))
    return wave[loud[0] * HOP : (loud[-1] + 1) * HOP]


def main(model, *files):
    about = json.loads((Path(model).parent / "export.json").read_text(encoding="utf-8"))
    if about["input"] != "waves":
        sys.exit("error: the front end of this model needs torch; use OnnxRecogniser of emotion_lightning")
    classes = about["model"]["classes"]
    session = onnxruntime.InferenceSession(model)
    for file in files:
        wave = read(file, about["audio"])
        inputs = {"waves": wave[None], "lengths": np.array([len(wave)])}
        [probabilities] = session.run(None, inputs)[0]
        best = int(probabilities.argmax())
        print(f"{file}\t{classes[best]}\t{probabilities[best]:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

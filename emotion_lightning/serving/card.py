"""The model card of a package, in Markdown: what the model was trained on, what its figures mean, what it is not for.

The sections follow Mitchell et al. 2019 (arXiv 1810.03993).
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from emotion_lightning.audit.leakage import Audit
from emotion_lightning.config import parts
from emotion_lightning.corpora import About as CorpusAbout
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.protocols import SPLITS
from emotion_lightning.training.evaluation import RunResult
from emotion_lightning.training.inference import Model
from emotion_lightning.training.significance import METRICS, Tested, interval

FEWEST_SPEAKERS = 4  # of the test split; an interval over fewer says nothing
NAMES = {"accuracy": "accuracy", "f1": "macro F1", "uar": "UAR (unweighted average recall)"}

LIMITS = """\
## Intended use

Research on speech emotion recognition, and demonstrations of it.

## Limits

- It was trained on acted speech of few speakers. Spontaneous speech sounds different, and scores on it are lower.
- It has heard the language, the sentences and the microphones of its corpora, and nothing else. Of another corpus, expect a score
  near chance until it was measured.
- It answers what an emotion sounds like in these corpora. It does not know what a person feels.
- **It must not be used for decisions about people**, such as in hiring, teaching, policing, insurance or health. The European
  Union's AI Act (Regulation 2024/1689, Article 5) forbids inferring emotions at work and in schools.
"""


def write_card(data: EmotionData, audit: Audit, result: RunResult, model: Model) -> str:
    """Returns the model card of a run that was evaluated."""
    experiment = data.experiment
    lines = [
        f"# {experiment.title_prefix}{experiment.name} · {experiment.protocol.name}",
        "",
        f"{experiment.about.rstrip('.') or 'A speech emotion recogniser'}. Model `{experiment.model.name}` on features "
        f"`{experiment.features.name}`; run `{result.run_id}` of emotion_lightning.",
        *(["", "**DEMO: trained on generated voices. It knows nothing about real speech.**"] * experiment.is_demo),
        "",
        f"Emotions: {', '.join(data.classes)}.",
        "",
        LIMITS,
        *_training_data(data, model),
        *_figures(data, audit, result),
        *_by_group(data, result),
        *_calibration(result),
    ]
    return "\n".join(lines) + "\n"


def _training_data(data: EmotionData, model: Model) -> Iterator[str]:
    yield from (
        "## Data",
        "",
        "| corpus | training | validation | test clips | speakers | licence |",
        "|---|---|---|---|---|---|",
    )
    for name in data.experiment.corpora:
        about: CorpusAbout = parts.fact("corpora", name, "ABOUT", None)
        clips = [[data.clips[i] for i in data.split.indices(split)] for split in SPLITS]
        of_corpus = [[clip for clip in split if clip.corpus == name] for split in clips]
        speakers = len({clip.speaker for split in of_corpus for clip in split})
        counts = " | ".join(str(len(split)) for split in of_corpus)
        yield f"| {about.title}: {about.citation} | {counts} | {speakers} | {about.licence} |"
    for origin in model.pretrained:
        yield f"\n{origin.sentence()[0].upper()}{origin.sentence()[1:]}."
    yield ""


def _figures(data: EmotionData, audit: Audit, result: RunResult) -> Iterator[str]:
    protocol = data.experiment.protocol.name
    known, total = (round(result.figures[f"test/{key}"]) for key in ("speakers_trained_on", "speakers"))
    yield from ("## Figures", "")
    yield f"Protocol `{protocol}`: {known} of the {total} test speakers are in the training split. " + (
        "The figures are of known speakers; of unseen ones they are lower."
        if known
        else "The figures are of unseen speakers."
    )
    leaks = "; ".join(f"{leak}: {leak.label}" for leak in audit.leaks())
    yield f"Audit: {leaks or 'no recording is in two splits'}."
    yield from ("", "| | test split | 95 % interval over speakers |", "|---|---|---|")
    tested = _tested(data, result)
    for metric in METRICS:
        ends = interval(tested, metric) if total >= FEWEST_SPEAKERS else None
        shown = f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else f"too few speakers ({total})"
        yield f"| {NAMES[metric]} | {result.figures[f'test/{metric}']:.3f} | {shown} |"
    yield f"\nAlways the most frequent emotion: accuracy {_prior(result):.3f}, UAR {1 / len(data.classes):.3f}.\n"


def _tested(data: EmotionData, result: RunResult) -> Tested:
    speakers = np.array([data.clips[i].speaker for i in data.split.test])
    return Tested(result.labels.numpy(), result.probabilities.argmax(1).numpy(), speakers, len(data.classes))


def _prior(result: RunResult) -> float:
    return max(Counter(result.labels.tolist()).values()) / len(result.labels)


def _by_group(data: EmotionData, result: RunResult) -> Iterator[str]:
    """Yields the recall of each emotion, and the accuracy by sex, intensity and corpus where the test split has several."""
    right = (result.probabilities.argmax(1) == result.labels).numpy()
    clips = [data.clips[i] for i in data.split.test]
    yield from ("| group | test clips | accuracy |", "|---|---|---|")
    for field in ("emotion", "sex", "intensity", "corpus"):
        values = sorted({getattr(clip, field) for clip in clips} - {""})
        for value in values if len(values) > 1 or field == "emotion" else ():
            chosen = np.array([getattr(clip, field) == value for clip in clips])
            yield f"| {value} | {chosen.sum()} | {right[chosen].mean():.3f} |"
    yield ""


def _calibration(result: RunResult) -> Iterator[str]:
    figures, scale = result.figures, result.calibration
    coverage = figures["test/set_coverage"]
    yield from (
        "## Confidence",
        "",
        f"Probabilities are calibrated with one temperature ({scale.temperature:.2f}), fitted on the validation split. Expected "
        f"calibration error on the test split: {figures['test/ece']:.3f} before, {figures['test/ece_calibrated']:.3f} after; "
        f"{figures['test/ece_if_calibrated']:.3f} would be chance.",
        "",
        f"The set of emotions of a clip should contain the true one in {scale.coverage:.0%} of the clips. On the test split it "
        f"does in {coverage:.1%}, with {figures['test/set_size']:.1f} emotions a set"
        + (
            "."
            if coverage >= scale.coverage
            else ": **less than it should**, since these speakers differ from those it was set on."
        ),
    )

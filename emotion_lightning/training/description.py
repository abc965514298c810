"""Writes the description of a run, in Markdown, which MLflow shows at the top of the run's page."""

from collections.abc import Iterable, Mapping

from emotion_lightning.config import parts
from emotion_lightning.config.command import KEPT_SETTINGS, train_command
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.tracking.run import title
from emotion_lightning.training.evaluation import speaker_counts, split_sizes, validation_label
from emotion_lightning.weights import Origin

TAG = "mlflow.note.content"
COMMIT = "mlflow.source.git.commit"


def describe(
    experiment: Experiment,
    data: EmotionData,
    weights: Iterable[Origin],
    tags: Mapping[str, str],
    figures: Mapping[str, float] | None = None,
) -> str:
    """Returns what the run is, its protocol, the audit's sentence, its scores if there are `figures`, and how to repeat it."""
    result = _table(figures) if figures else ["*No scores: the run has not finished.*"]
    # MLflow shows the first lines only until one clicks on "Show more"
    score = f": test UAR {figures['test/uar']:.3f}" if figures else ""
    about = f"  \n{experiment.about}" if experiment.about else ""
    return "\n".join(
        [
            f"**{experiment.title_prefix}{title(experiment)}**{score}{about}",
            "",
            *result,
            "",
            f"- **Data**: {_data(experiment, data)}",
            f"- **Protocol** `{experiment.protocol.name}`: {_first_line(experiment.protocol.name)}",
            f"- **Audit**: {tags['audit']}."
            + (" No test clip was read before the evaluation. `audit.csv` has each check." if figures else ""),
            *([f"- **Confidence**: {_confidence(experiment, figures)}"] if figures else []),
            *(f"- **Outside weights**: {origin.sentence()}" for origin in weights),
            f"- **Reproduce**: {_how_to_repeat(experiment, tags)}",
        ]
    )


def _table(figures: Mapping[str, float]) -> list[str]:
    rows = [
        f"| {name} | "
        + " | ".join(f"{figures[f'{key}/{metric}']:.3f}" for metric in ("accuracy", "f1", "uar", "loss"))
        + " |"
        for name, key in ((validation_label(figures), "best"), ("**test**", "test"))
    ]
    return ["| | accuracy | macro F1 | UAR | loss |", "|---|---|---|---|---|", *rows]


def _confidence(experiment: Experiment, figures: Mapping[str, float]) -> str:
    """Says what the temperature and the sets of emotions do on the test split, and whether the sets are as good as promised."""
    promised, found = experiment.answer.coverage, figures["test/set_coverage"]
    short = (
        " **This is less than promised**: the test speakers differ from the validation speakers."
        if found < promised
        else ""
    )
    return (
        f"expected calibration error {figures['test/ece']:.3f}, with the temperature {figures['best/temperature']:.2f} "
        f"{figures['test/ece_calibrated']:.3f}. A set of {figures['test/set_size']:.1f} emotions on average contains the true "
        f"one in {found:.1%} of the test clips; {promised:.0%} were promised.{short}"
    )


def _data(experiment: Experiment, data: EmotionData) -> str:
    known, total = (round(speaker_counts(data)[f"test/{key}"]) for key in ("speakers_trained_on", "speakers"))
    return (
        f"{' + '.join(experiment.corpora)}; {split_sizes(data)}, {len(data.classes)} emotions. "
        f"{known} of the {total} test speakers {'were' if total > 1 else 'was'} trained on."
    )


def _first_line(protocol: str) -> str:
    return (parts.load("protocols", protocol).__doc__ or "").strip().partition("\n")[0]


def _how_to_repeat(experiment: Experiment, tags: Mapping[str, str]) -> str:
    command = train_command(experiment)
    place = f", with the file `{KEPT_SETTINGS}` of this run" if f"EXP={KEPT_SETTINGS}" in command else ""
    changed = " with uncommitted changes" if tags.get("git/dirty") == "True" else ""
    commit = f", at commit `{tags[COMMIT][:8]}`{changed}" if tags.get(COMMIT) else ""
    return f"`{command}`{place}{commit}"

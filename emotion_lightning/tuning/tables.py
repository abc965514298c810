"""What a search logs about its trials: the table, the importance of each setting, and the description of its run."""

import csv
from pathlib import Path
from statistics import fmean

from optuna.study import Study
from optuna.trial import TrialState

from emotion_lightning.tuning.request import Request
from emotion_lightning.tuning.winner import Winner


def write_trials(file: Path, request: Request, study: Study) -> None:
    """Writes one row for each trial: its state, UAR, settings, the UAR of each inner fold, and its MLflow run."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        folds = [f"uar_inner{fold}" for fold in range(request.folds)]
        writer.writerow(["trial", "state", "uar", *request.ranges, *folds, "run"])
        for trial in study.get_trials(deepcopy=False):
            uars = trial.user_attrs.get("uars", [])
            values = trial.user_attrs.get("values", {})
            mean = f"{fmean(uars):.6f}" if trial.state == TrialState.COMPLETE else ""
            row = [trial.number, trial.state.name.lower(), mean, *(values.get(path, "") for path in request.ranges)]
            row += [f"{uars[fold]:.6f}" if fold < len(uars) else "" for fold in range(request.folds)]
            writer.writerow([*row, trial.user_attrs.get("run_id", "")])


def importances(study: Study) -> dict[str, float]:
    """Returns the share of the variance of the UAR that each setting explains (functional ANOVA, Hutter et al. 2014).

    Empty for one setting, for less than two trials, and where all trials have the same score.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < 2 or len({trial.value for trial in trials}) < 2 or len(trials[0].params) < 2:
        return {}
    return {
        path: float(share)
        for path, share in get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)).items()
    }


def note(title: str, found: Winner) -> str:
    """Returns the description of the search's run for its MLflow page."""
    rows = [f"| {path} | {value} |" for path, value in found.values.items()]
    return "\n".join(
        [
            f"**{title}**: trial {found.trial} is the best, UAR {found.uar:.3f} ± {found.spread:.3f} over its inner folds. "
            "**This figure is optimistic, because the settings were chosen by it. No test clip was read.**",
            "",
            "| setting | value |",
            "|---|---|",
            *rows,
            "",
            f"`{found.command}`",
        ]
    )

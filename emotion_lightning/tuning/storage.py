"""The trials of a search on disk: mlruns/tuning.db, an SQLite file of Optuna.

A search is found by its experiment and a digest of its settings, ranges, inner folds and clips. So the same command continues
it, and a change of any of them starts another one.
"""

import logging

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.filesystem import digest
from emotion_lightning.protocols import SPLITS
from emotion_lightning.tracking import store
from emotion_lightning.tuning.request import Request
from emotion_lightning.tuning.space import present_values

STARTUP_TRIALS = 3  # before the first trial can be pruned
SEED_STEP = 100_003  # seeds of one search do not meet those of another


def study_name(request: Request, data: EmotionData) -> str:
    """Returns the name of the search of these settings on these clips."""
    ranges = [(path, str(candidates)) for path, candidates in request.ranges.items()]
    key = digest(request.experiment.signature(), ranges, request.folds, data.digest(*SPLITS))
    return f"{request.experiment.name}-{key}"


def open_study(name: str, request: Request) -> Study:
    """Opens or makes the study."""
    optuna.logging.set_verbosity(logging.WARNING)
    store.ROOT.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{(store.ROOT / 'tuning.db').resolve()}")
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    return optuna.create_study(
        study_name=name, storage=storage, direction="maximize", pruner=pruner, load_if_exists=True
    )


def finished(study: Study) -> list[FrozenTrial]:
    """Returns the trials that have ended with a score or were pruned."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def end_interrupted(study: Study) -> None:
    """Marks the trials that a kill has left RUNNING as failed. `ask` gives their settings again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def ask(study: Study, request: Request) -> optuna.trial.Trial:
    """Returns a new trial; equal requests and equal finished trials give equal settings.

    The first trial is the experiment as it is, where the ranges contain it. The sampler has a seed of its own for each trial:
    after a kill, one seed for all would give the first settings again.
    """
    done = len(finished(study))
    values = None if done else present_values(request.experiment, request.ranges)
    if values and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(values)
    study.sampler = optuna.samplers.TPESampler(seed=request.experiment.seed * SEED_STEP + done)
    return study.ask()

"""What MLflow's pages of an experiment show: its description, and a saved view of the list of runs.

The saved view is what MLflow's button "Share" makes: an experiment tag with the columns and the order, which an address names.
"""

import json
from collections.abc import Mapping

from mlflow.tracking import MlflowClient

from emotion_lightning.config.schema import Experiment

VIEW = "emotion_lightning"
COLUMNS = ("tags.`protocol`", "metrics.`test/uar`", "tags.`audit`")
RUNS_PAGE = f"runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
"""The list of training runs, by the saved view. MLflow's own start page leads to its pages for chat agents."""
NOTE = "mlflow.note.content"


def experiment_tags(experiment: Experiment) -> dict[str, str]:
    """Returns the tags of an MLflow experiment that decide what its pages show."""
    corpora = "DEMO voices, which are generated" if experiment.is_demo else " + ".join(experiment.corpora)
    return {
        "mlflow.experimentKind": "custom_model_development",  # opens the pages for training, not those for chat agents
        f"mlflow.sharedViewState.{VIEW}": json.dumps(
            {"selectedColumns": COLUMNS, "orderByKey": COLUMNS[1], "orderByAsc": False}
        ),
        NOTE: f"Speech emotion recognition on {corpora}. **protocol** is the rule that splits the clips, **audit** says in one "
        "sentence what is in two splits, and **test/uar** is the unweighted average recall on the test split. Scores compare "
        "only under the same protocol. The page of a run says how to repeat it.",
    }


def add_missing_tags(
    client: MlflowClient, experiment_id: str, tags: Mapping[str, str], wanted: Mapping[str, str]
) -> None:
    """Sets the tags that an MLflow experiment of an earlier version lacks; what a user has written stays."""
    for key, value in wanted.items():
        if key not in tags:
            client.set_experiment_tag(experiment_id, key, value)

"""`register`: puts the model of a run into MLflow's registry, as the champion if the paired test says that it is better."""

import logging
import re
from contextlib import redirect_stderr
from io import StringIO

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from rich.console import Console

from emotion_lightning.errors import UserError
from emotion_lightning.report.comparison import paired
from emotion_lightning.report.summary import Pair
from emotion_lightning.serving.find import CHAMPION, logged_model, versions_of
from emotion_lightning.tracking import store
from emotion_lightning.training import kept

LEVEL = 0.05  # of McNemar's test


def register(run_id: str, name: str, console: Console) -> None:
    """Registers the model of a run under a name, and prints whether it is the champion now, and why.

    Raises: UserError where the run has no model, or where MLflow refuses the name.
    """
    if not re.fullmatch(r"[\w.-]{1,100}", name) or not name.strip("."):
        raise UserError(f"NAME: '{name}' is not a name of letters, digits, '_', '-' and '.'")
    run = kept.find(run_id)
    client = store.connect()
    if any(v.run_id == run.info.run_id for v in versions_of(client, name)):
        raise UserError(f"NAME: the model of run {run.info.run_id[:8]} is a version of '{name}' already")
    champion = _champion(client, name)
    logging.getLogger("mlflow.store.model_registry").setLevel(logging.ERROR)
    try:
        with redirect_stderr(StringIO()):  # MLflow prints the same in its words
            version = mlflow.register_model(f"models:/{logged_model(run)}", name)
    except MlflowException as error:
        raise UserError(f"NAME: MLflow refuses '{name}' ({error.message})") from None
    console.print(f"{name} version {version.version}: run {run.info.run_id[:8]}")
    better, why = (True, "there is no other yet") if champion is None else _better(run.info.run_id, champion)
    if better:
        client.set_registered_model_alias(name, CHAMPION, version.version)
    verdict = "is the champion now" if better else f"stays a challenger; version {champion.version} is the champion"  # type: ignore[union-attr]
    console.print(f"version {version.version} {verdict}: {why}", soft_wrap=True)


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        return None


def _better(run_id: str, champion: ModelVersion) -> tuple[bool, str]:
    """Returns whether a run is better than the champion by the paired tests on the same test clips, and the reason."""
    try:
        [pair] = paired(run_id, str(champion.run_id))
    except UserError as error:
        return False, str(error)
    return is_better(pair), describe(pair)


def is_better(pair: Pair) -> bool:
    """Returns whether more clips are right, by chance in one of 20 cases at most, and the interval of UAR is above 0."""
    more = pair.mcnemar.only_a > pair.mcnemar.only_b
    return more and pair.mcnemar.p < LEVEL and (pair.uar is None or pair.uar[1] > 0)


def describe(pair: Pair) -> str:
    """Says what the paired tests found, in one sentence."""
    uar, test = "", pair.mcnemar
    if not test.only_a and not test.only_b:
        return "both are right on the same clips"
    if pair.uar:
        difference, low, high = (100 * value for value in pair.uar)
        uar = f"UAR {difference:+.1f} [{low:+.1f}, {high:+.1f}] over speakers, "
    return (
        f"{uar}only it is right on {test.only_a} clips, only the champion on {test.only_b} (McNemar p = {test.p:.3f})"
    )

"""A tracking server over HTTP: whether it answers, and its errors in a few words."""

import os

from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from emotion_lightning.errors import UserError

AWAY = "the MLflow server at"


def must_answer(uri: str) -> None:
    """A UserError, at once and not after minutes of retries, where the server is away or refuses us."""
    try:
        answer = http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/search",
            "POST",
            json={"max_results": 1},
            max_retries=0,
            timeout=10,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise UserError(away(uri, why(error))) from None
    if answer.status_code in (401, 403):
        raise UserError(f"the MLflow server at {uri} wants MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
    if answer.status_code != 200:
        raise UserError(away(uri, f"status {answer.status_code}"))


def away(uri: str, reason: str) -> str:
    """What is said of a server that does not answer, with the way out."""
    return f"the MLflow server at {uri} does not answer ({reason}): start it, or unset MLFLOW_TRACKING_URI to write to mlruns/"


def hurry() -> None:
    """Makes MLflow give a request up after seconds and not after minutes, for a process that can send it again."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def why(error: Exception) -> str:
    """An error in a few words."""
    text = str(getattr(error, "message", error)).split("\n")[0]
    for known in ("Connection refused", "timed out", "Name or service not known", "Connection reset"):
        if known in text:
            return known.lower()
    return text[:200]


def is_refusal(error: Exception) -> bool:
    """Whether the server has answered and will not take it; to wait would be in vain."""
    response = getattr(error, "response", None)  # of a file that was sent
    code = response.status_code if response is not None else getattr(error, "get_http_status_code", lambda: 500)()
    return 400 <= code < 500 and code not in (408, 429)


def is_away(error: Exception) -> bool:
    """Whether MLflow gave a server up, after its retries."""
    return isinstance(error, MlflowException) and "API request to" in error.message and not is_refusal(error)

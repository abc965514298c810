"""Checks whether a tracking server answers over HTTP, and shortens its errors."""

import os

from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from emotion_lightning.errors import UserError

MESSAGE_START = "the MLflow server at"


def require_answer(uri: str, shown: str) -> None:
    """Sends one request, without retries; `shown` is the address for messages, without a password.

    Raises:
        UserError: the server does not answer within 10 s, or refuses access.
    """
    try:
        response = http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/search",
            "POST",
            json={"max_results": 1},
            max_retries=0,
            timeout=10,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise UserError(unreachable_message(shown, short_reason(error))) from None
    if response.status_code in (401, 403):
        raise UserError(f"{MESSAGE_START} {shown} needs MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
    if response.status_code != 200:
        raise UserError(unreachable_message(shown, f"status {response.status_code}"))


def unreachable_message(uri: str, reason: str) -> str:
    """Returns the error message for a server that does not answer, with what the user can do."""
    return f"{MESSAGE_START} {uri} does not answer ({reason}): start it, or unset MLFLOW_TRACKING_URI to write to mlruns/"


def limit_retries() -> None:
    """Makes MLflow give up a request after seconds, not minutes, in a process that sends it again by itself."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def short_reason(error: Exception) -> str:
    """Returns the cause of an error in a few words."""
    text = str(getattr(error, "message", error)).split("\n")[0]
    for known in ("Connection refused", "timed out", "Name or service not known", "Connection reset"):
        if known in text:
            return known.lower()
    return text[:200]


def is_refusal(error: Exception) -> bool:
    """Returns whether the server has answered with a refusal, so that a retry cannot help."""
    response = getattr(error, "response", None)  # set if the request was the upload of a file
    code = response.status_code if response is not None else getattr(error, "get_http_status_code", lambda: 500)()
    return 400 <= code < 500 and code not in (408, 429)


def is_unreachable(error: Exception) -> bool:
    """Returns whether MLflow gave up a request to the server after its retries."""
    return isinstance(error, MlflowException) and "API request to" in error.message and not is_refusal(error)

"""Serves an MLflow model over HTTP: MLflow's scoring server and its format, with limits of size and time and short errors.

    POST /invocations   {"dataframe_records": [{"audio": "<a sound file in base64>"}]}   → {"predictions": […]}
    GET  /ping          200 when the model is loaded

400 says what is wrong with a request, 408 that it did not arrive in time, 413 that it is too large, 415 that it is not JSON,
503 that too many wait or memory is short, 504 that it took too long. Clients cannot make the server open files.

`/invocations` is answered here, by MLflow's functions: its own route parses the JSON of a request twice, and encodes an answer
in pure Python.
"""

import asyncio
import errno
import json
import os
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from emotion_lightning.errors import UserError, machine_fault

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WAITING = 128  # requests that wait for an answer; more get 503
LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(folder: Path, host: str, port: int, max_mb: float, seconds: int, say: Callable[[str], None]) -> None:
    """Serves the MLflow model in a folder until Ctrl-C. `max_mb` limits a request, `seconds` its time.

    Raises: UserError where the port is in use.
    """
    import uvicorn

    listening = _bound(host, port)
    app = application(folder, max_mb, seconds)
    if host not in LOCAL:
        say(f"ATTENTION: HOST={host}: everyone who can reach this machine can use the model, without a password")
    say(f"the model is at http://{host}:{port}/invocations (Ctrl-C stops it); docs/serving.md has examples with curl")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to the address.

    Raises: UserError where it is in use, or not one of this machine.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use; choose another one, for example PORT={port + 1}") from None
        raise UserError(f"HOST={host}: not an address of this machine ({error.strerror})") from None
    return listening


def application(folder: Path, max_mb: float, seconds: int) -> Any:
    """Returns MLflow's application for the model in a folder, within the limits."""
    from emotion_lightning.serving.pyfunc import NO_PATHS

    os.environ[NO_PATHS] = "1"
    from mlflow.pyfunc import scoring_server

    model = _model(folder)
    app = scoring_server.init(model)
    app.router.lifespan_context = _few_threads
    app.add_middleware(Invocations, model=model, max_bytes=int(max_mb * 1e6), seconds=seconds)
    return app


def _model(folder: Path) -> Any:
    """Returns the MLflow model in a folder, answered by our code: MLflow's `load_model` would run the code in the folder."""
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel, PythonModelContext
    from mlflow.pyfunc.model import _PythonModelPyfuncWrapper

    from emotion_lightning.serving.find import package_folder
    from emotion_lightning.serving.pyfunc import PackagedModel

    about, model = Model.load(str(folder / "MLmodel")), PackagedModel()
    context = PythonModelContext({"package": str(package_folder(model=str(folder)))}, {})
    model.load_context(context)
    return PyFuncModel(model_meta=about, model_impl=_PythonModelPyfuncWrapper(model, context, about.signature))


@asynccontextmanager
async def _few_threads(app: Any) -> Any:
    """Computes as many requests at once as there are processors; the others wait, and their time counts."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(os.cpu_count() or 1))
    yield


class Disconnected(Exception):
    """Raised where a client has gone before its request was complete."""


class Refused(Exception):
    """Raised for a request that gets no answer but a status and a reason."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class Invocations:
    """Answers POST, and refuses a request that is too large, too slow or not JSON before it is parsed."""

    def __init__(self, app: Any, model: Any, max_bytes: int, seconds: int):
        self.app, self.model, self.max_bytes, self.seconds = app, model, max_bytes, seconds
        self.waiting = 0  # requests that were read and have no answer yet

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        with suppress(Disconnected):
            try:
                body = await self._body(receive, headers)  # first of all: else the client may not get the refusal
                if scope["path"] != "/invocations":
                    raise Refused(404, "there is nothing here; send POST to /invocations")
                if not headers.get("content-type", "").lower().startswith("application/json"):
                    raise Refused(415, "Content-Type: application/json is needed")
                content = await self._answer(body)
            except Refused as refused:
                await _send(send, refused.status, json.dumps({"error": str(refused)}))
            else:
                await _send(send, 200, content)

    async def _answer(self, body: bytes) -> str:
        """Returns the answer as JSON. Raises: Refused."""
        if self.waiting >= WAITING:
            raise Refused(503, f"{WAITING} requests wait already; try again later")
        self.waiting += 1
        try:
            return await asyncio.wait_for(asyncio.to_thread(answer, self.model, body), self.seconds)
        except TimeoutError:
            raise Refused(504, f"it took longer than {self.seconds} s") from None
        finally:
            self.waiting -= 1

    async def _body(self, receive: Receive, headers: dict[str, str]) -> bytes:
        """Returns the body of a request, of which no more is read than the limits allow. Raises: Refused, Disconnected."""
        announced = headers.get("content-length", "")
        too_large = Refused(413, f"the request is larger than {self.max_bytes / 1e6:g} MB")
        if announced.isdigit() and int(announced) > self.max_bytes:
            raise too_large
        try:
            body = await asyncio.wait_for(_received(receive, self.max_bytes), self.seconds)
        except TimeoutError:
            raise Refused(408, f"the request was not complete after {self.seconds} s") from None
        if body is None:
            raise too_large
        return body


async def _received(receive: Receive, most: int) -> bytes | None:
    """Reads the body of a request; None as soon as it has more than `most` bytes. Raises: Disconnected."""
    body = bytearray()
    while len(body) <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if not message.get("more_body") and len(body) <= most:
            return bytes(body)
    return None


async def _send(send: Send, status: int, content: str) -> None:
    body = content.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # the rest of a large body is not read, so the connection cannot be used again
    headers += [(b"connection", b"close")] if status in (408, 413) else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answer(model: Any, body: bytes) -> str:
    """Returns the JSON with the model's answer to a request in MLflow's format. Raises: Refused."""
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    try:
        given = json.loads(body)
    except RecursionError:
        raise Refused(400, "the JSON is nested too deeply") from None
    except ValueError as error:
        raise Refused(400, f"the request is not JSON ({error})") from None
    if not isinstance(given, dict):
        raise Refused(400, 'a JSON object is needed, such as {"dataframe_records": [{"audio": "…"}]}')
    parameters = given.pop("params", None)
    try:
        rows = infer_and_parse_data(given, model.metadata.get_input_schema())
        predicted = model.predict(rows, params=parameters)
    except MlflowException as error:
        raise Refused(error.get_http_status_code(), reason(error.message)) from None
    except Exception as error:  # pandas and MLflow have no error of their own for each wrong form
        if fault := machine_fault(error):
            raise Refused(503, fault) from None
        raise Refused(400, reason(f"the request cannot be used ({type(error).__name__}: {error})")) from None
    return json.dumps({"predictions": predicted.to_dict("records")})


def reason(message: str) -> str:
    """Returns a message of MLflow in one line of at most 1000 characters, without the data that it repeats."""
    text = re.sub(r"^Failed to enforce schema of data .* Error: ", "", message, flags=re.DOTALL)
    return " ".join(text.split())[:1000]

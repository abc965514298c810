"""Serves an MLflow model over HTTP: MLflow's own scoring server, with limits of size and time, and with short errors.

    POST /invocations   {"dataframe_records": [{"audio": "<a sound file in base64>"}]}   → {"predictions": […]}
    GET  /ping          200 when the model is loaded

400 says what is wrong with a request, 408 that it did not arrive in time, 413 that it is too large, 415 that it is not JSON,
503 that too many wait, 504 that it took too long. Clients cannot make the server open files.
"""

import asyncio
import errno
import json
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from emotion_lightning.errors import UserError

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

    os.environ["MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"] = str(seconds)
    os.environ[NO_PATHS] = "1"
    from mlflow.pyfunc import scoring_server

    logging.getLogger("mlflow.pyfunc.scoring_server").setLevel(logging.ERROR)  # it prints a hint at each bad request
    app = scoring_server.init(_model(folder))
    app.router.lifespan_context = _few_threads
    app.add_middleware(Limits, max_bytes=int(max_mb * 1e6), seconds=seconds)
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


class Limits:
    """Refuses a request that is too large or not JSON before it is parsed, and shortens MLflow's errors to their reason."""

    def __init__(self, app: Any, max_bytes: int, seconds: int):
        self.app, self.max_bytes, self.seconds = app, max_bytes, seconds
        self.waiting = 0  # requests that were read and have no answer yet

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        with suppress(Disconnected):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not headers.get("content-type", "").lower().startswith("application/json"):
            await _refuse(send, 415, "Content-Type: application/json is needed")
            return
        try:
            body = await asyncio.wait_for(self._body(receive, headers.get("content-length", "0")), self.seconds)
        except TimeoutError:
            await _refuse(send, 408, f"the request was not complete after {self.seconds} s")
            return
        if body is None:
            await _refuse(send, 413, f"the request is larger than {self.max_bytes / 1e6:g} MB")
        elif self.waiting >= WAITING:
            await _refuse(send, 503, f"{WAITING} requests wait already; try again later")
        else:
            self.waiting += 1
            # MLflow knows the content type in lower case alone
            others = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-type"]
            scope = {**scope, "headers": [*others, (b"content-type", b"application/json")]}
            try:
                await self.app(scope, _replayed(body, receive), _shortened(send))
            except RecursionError:
                await _refuse(send, 400, "the JSON is nested too deeply")
            finally:
                self.waiting -= 1

    async def _body(self, receive: Receive, announced: str) -> bytes | None:
        """Reads the body; None for one that is too large, of which no more is read than the limit."""
        if announced.isdigit() and int(announced) > self.max_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                return None
            if not message.get("more_body"):
                return bytes(body)


async def _refuse(send: Send, status: int, reason: str) -> None:
    content = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    # the rest of a large body is not read, so the connection cannot be used again
    headers += [(b"connection", b"close")] if status in (408, 413) else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Returns what gives the body that was read, and then what comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed


def _shortened(send: Send) -> Send:
    """Replaces the body of an error, which has the request and a traceback in it, by its reason."""
    status, body = 0, bytearray()  # of an error

    async def shortened(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start" and message["status"] >= 400:
            status = message["status"]
        elif not status:
            await send(message)
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                await _refuse(send, status, reason(bytes(body)))

    return shortened


def reason(body: bytes) -> str:
    """Returns in one line what is wrong with a request, from the body of MLflow's answer, which may repeat the request."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["message"]
    text = re.sub(r"^Failed to predict data .*\nError: ", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"\nInput: .*", "", text, flags=re.DOTALL).split())[:1000]

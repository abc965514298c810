"""A headless Chromium, controlled by the DevTools protocol over two pipes; no driver and no package is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One tab. `addresses` are all that it requested, `faults` the errors that its scripts did not catch."""

    def __init__(self, to_browser: int, from_browser: int):
        self._out, self._in = to_browser, from_browser
        self._buffer, self._number, self._session = b"", 0, ""
        self.addresses: list[str] = []
        self.faults: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Page", "Runtime", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """The result of a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(60)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _receive(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], seconds)[0], "the browser does not answer"
            read = os.read(self._in, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            params = event["params"]
            self.addresses.append(params.get("request", params)["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.faults.append(str(event["params"]["exceptionDetails"]))

    def value(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = 90) -> Any:
        """Waits until an expression is true, and returns its value."""
        end = time.monotonic() + seconds
        while not (found := self.value(script)):
            assert time.monotonic() < end, f"waited in vain for {script}\n{self.value('document.body.innerText')}"
            time.sleep(0.1)
        return found

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def upload(self, selector: str, file: Path) -> None:
        """Chooses a file in the first element of a CSS selector."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def click(self, text: str) -> None:
        """Clicks the last visible button with this text or label; before its tabs, Gradio has copies of them that it measures."""
        usable = "!b.disabled && b.checkVisibility({visibilityProperty: true})"
        named = f"(b.ariaLabel || b.innerText).trim() == {json.dumps(text)}"
        found = f"[...document.querySelectorAll('button')].findLast(b => {usable} && {named})"
        self.until(f"!!{found}")
        self.value(f"{found}.click()")

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def screenshot(self, file: Path, whole: bool = True) -> None:
        content = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(content))


@contextmanager
def opened(profile: Path, *options: str) -> Iterator[Page]:
    """A tab of a browser that can reach this machine only; `profile` is an empty folder for its files."""
    command_out, to_browser = os.pipe()
    from_browser, answers_in = os.pipe()
    options = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
        "--remote-debugging-pipe", f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--no-first-run", "--no-proxy-server", "--lang=en", *options,
    )  # fmt: skip
    # the browser reads commands from descriptor 3 and writes answers to 4
    launcher = f'exec "$0" "$@" 3<&{command_out} 4>&{answers_in}'
    process = subprocess.Popen(
        ["bash", "-c", launcher, str(CHROMIUM), *options],
        pass_fds=(command_out, answers_in),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(command_out)
    os.close(answers_in)
    try:
        yield Page(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait(20)
        os.close(to_browser)
        os.close(from_browser)

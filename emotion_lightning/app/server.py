"""Serves the page until Ctrl-C."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from emotion_lightning.errors import UserError
from emotion_lightning.serving import package
from emotion_lightning.tracking.signals import Killed, raised

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(folder: Path, min_confidence: float | None, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serves the page of the model package in `folder` until Ctrl-C or SIGTERM; then all recordings are deleted.

    Raises: UserError where Gradio is missing, or the port cannot be used.
    """
    recogniser = package.read(folder, min_confidence)
    card = (folder / package.CARD).read_text(encoding="utf-8")
    with suppress(Killed), raised(), TemporaryDirectory(prefix="emotion_lightning_app_") as uploads:
        os.environ |= environment(uploads)
        try:
            from emotion_lightning.app import page
        except ImportError as error:
            raise UserError(
                f"gradio cannot be used ({error}); pip install 'emotion-lightning[app]' installs it"
            ) from None
        blocks = page.build(recogniser, card)
        try:
            blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=f"{page.MOST_MEGABYTES}mb",
                theme=page.THEME,
                css=page.CSS,
                footer_links=[],
                run_history=False,  # else the browser would keep the recordings
                enable_monitoring=False,
                ssr_mode=False,  # needs Node.js
                mcp_server=False,
                pwa=False,
            )
        except OSError as error:
            raise UserError(f"PORT: {host}:{port} cannot be used ({error}); choose another one, PORT=7861") from None
        if host not in LOCAL:
            say(f"HOST={host}: everyone who can reach this machine can use the page, and there is no password")
        say(f"the page is at {blocks.local_url} (Ctrl-C stops it)")
        try:
            Event().wait()
        finally:
            blocks.close(verbose=False)


def environment(uploads: str) -> dict[str, str]:
    """Returns the variables that keep Gradio from the network, and its files in a folder that is deleted."""
    local = ",".join(filter(None, [os.environ.get("NO_PROXY", os.environ.get("no_proxy")), "127.0.0.1", "localhost"]))
    return {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_TEMP_DIR": uploads,
        "NO_PROXY": local,  # Gradio asks its own page whether it is up, and a proxy would not find it
        "no_proxy": local,
    }

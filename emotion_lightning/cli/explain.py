"""`make explain`: writes the pages about a run's errors, and prints their files."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from emotion_lightning.errors import UserError
from emotion_lightning.explain import Method


def explain(
    run_id: str, changes: Sequence[str], audio: Path | None, most: int, method: Method, console: Console
) -> None:
    """Writes the page of the run and, of a sound file, a second one; `changes` replace settings of the run.

    Raises: UserError where Captum is needed and not installed, and for a run or a file that cannot be read.
    """
    if audio and not audio.is_file():
        raise UserError(f"AUDIO: there is no file '{audio}'")
    if audio and find_spec("captum") is None:
        raise UserError(
            "AUDIO: Captum is not installed; make explain, or pip install 'emotion-lightning[explain]', installs it"
        )
    from emotion_lightning.explain import page, source

    explained = source.read(run_id, changes)
    if audio:
        from emotion_lightning.explain import audio_page

        console.print(audio_page.write(explained, audio), soft_wrap=True, markup=False, highlight=False)
    console.print(page.write(explained, most, method, console), soft_wrap=True, markup=False, highlight=False)

"""What is wrong with how a reader of settings ends."""

from collections.abc import Callable

from emotion_lightning.errors import UserError


def fault_of(call: Callable[[], object], *named: str) -> str:
    """Returns what is wrong with how a call ends: well, or with a UserError whose first line has one of these names."""
    try:
        call()
    except UserError as refused:
        lines = str(refused).splitlines()
        if not lines or not all(line.isprintable() and len(line) < 2_000 for line in lines):
            return f"not a clear line: {str(refused)[:200]!r}"
        return (
            "" if any(name in lines[0] for name in named) else f"names neither file nor setting: {lines[0][:200]!r}"
        )
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return ""

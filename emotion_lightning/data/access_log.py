"""Which clips were read for what: so that it can be said, and not only promised, that nothing saw the test side early."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray


class Reads:
    """Rows are noted under the purpose of the moment, which is "fit" unless something else is said."""

    def __init__(self) -> None:
        self._rows: dict[str, set[int]] = {}
        self._purpose = "fit"

    @contextmanager
    def purpose(self, name: str) -> Iterator[None]:
        before, self._purpose = self._purpose, name
        try:
            yield
        finally:
            self._purpose = before

    def note(self, rows: NDArray[np.int64]) -> None:
        self._rows.setdefault(self._purpose, set()).update(rows.tolist())

    def saw(self, purpose: str, rows: NDArray[np.int64]) -> int:
        """How many of these rows were read for a purpose."""
        return len(self._rows.get(purpose, set()).intersection(rows.tolist()))

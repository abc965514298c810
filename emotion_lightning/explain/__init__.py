"""Pages about the errors of one run (`make explain RUN=…`), and about what mattered in one file (`AUDIO=…`).

They look at the test split after the run, so no setting may be chosen by them.
"""

from typing import Literal

Method = Literal["pca", "tsne"]
"""How the map of the clips is reduced to two dimensions."""

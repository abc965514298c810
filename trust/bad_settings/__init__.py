"""Fuzzed settings: YAML files, overrides, CSV tables, studies, claims, weights. Each is accepted, or refused in clear lines.

Hypothesis draws the texts and reduces a failing one to its shortest form. A refusal is a UserError whose first line names
the file or the setting; anything else that is raised is a fault. Settings that are accepted must also build, in a process
of its own with bounded memory. A few dozen go through the whole command, which must end with status 2 and leave no run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion_lightning import weights
from emotion_lightning.config import loader
from emotion_lightning.protocols import published_folds
from trust.bad_settings import drawn, extremes, files, tables, whole_commands
from trust.rows import Row, Setting


def rows(setting: Setting) -> Iterator[Row]:
    with _inside(setting.work):
        yield files.specials()
        yield files.every_path(setting)
        yield drawn.changed_files("fuzzed experiments", files.experiment, loader.SHIPPED, setting)
        yield drawn.overrides(setting)
        yield tables.fuzzed(setting)
        yield drawn.changed_files("fuzzed studies", files.study, loader.SHIPPED / "studies", setting)
        yield drawn.changed_files("fuzzed claims", files.claim, loader.SHIPPED / "claims", setting)
        yield drawn.changed_files("fuzzed weights", files.pretrained, Path(weights.__file__).parent, setting)
        yield drawn.changed_files(
            "fuzzed published folds", files.folds, Path(published_folds.__file__).parent / "folds", setting
        )
        yield extremes.each_number(setting)
        yield whole_commands.refused(setting)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)

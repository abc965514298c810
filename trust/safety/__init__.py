"""What somebody else wrote or typed: files with code in them, archives, addresses, names; and whom the programs talk to.

A payload writes a file when it is run, so a judge needs no opinion. Each hostile file has to be refused with status 2 and one
line of error; each folder beside the working folder has to stay as it was, byte for byte.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from trust.rows import Row, Setting
from trust.safety import archives, make_variables, network, pages, payloads, stores
from trust.safety.scene import Scene

Attempt = Callable[[np.random.Generator, Path], str]


def rows(setting: Setting) -> Iterator[Row]:
    work = setting.work
    yield _row("values of make's variables in a shell", _part(make_variables.through_make(work / "make"), setting))
    yield _drawn("archives that try to leave their folder", archives.unpacked, setting, 1000)
    yield _drawn("changed downloads", archives.damaged_download, setting, 500)
    (work / "bombs").mkdir()
    yield _row("bombs, passwords and unknown ways of packing", archives.bombs(work / "bombs" / "hostile.zip"))
    yield _row("folders to import that name other files", stores.imports(work / "imports"))
    scene = Scene(work / "scene" / "scene")
    for label, places in (
        ("pickles and foreign types in models and caches", payloads.pickles(scene)),
        ("YAML that makes Python objects", payloads.yaml_files(scene)),
    ):
        yield _row(label, _part(((place.name, scene.outcome(place)) for place in places), setting))
    yield _row("served models with code in their folder", _served(scene))
    yield _row("stores whose runs lead out of their folder", _part(stores.attempts(scene), setting))
    yield _row("lists of files under the name of a sound", payloads.playlists(scene))
    card = scene.file(scene.runs["demo_svm"], "package.json").parent
    with scene.put_back():
        yield _row("pages with <script> and TeX in names", pages.pages(scene))
    yield _row("the app with <script> in title and card", [("app", pages.app_page(card))])
    blind = network.control(scene)
    yield _row("commands and servers that reach or can be reached", [("control", blind), *network.attempts(scene)])


def _row(label: str, tried: Iterable[tuple[str, str]]) -> Row:
    outcomes = list(tried)
    faults = tuple(f"{what}: {wrong}" if what not in wrong else wrong for what, wrong in outcomes if wrong)
    return Row(label, len(outcomes), faults)


def _part(tried: Iterable[tuple[str, str]], setting: Setting) -> Iterator[tuple[str, str]]:
    """Yields all outcomes; with a share below 1, as many of the first ones."""
    yield from islice(tried, None if setting.share >= 1 else setting.times(40, 2))


def _drawn(label: str, attempt: Attempt, setting: Setting, full: int) -> Row:
    folder, outcomes = setting.work / attempt.__name__, []
    for case in range(setting.times(full, 20)):
        wrong = attempt(np.random.default_rng((setting.seed, case)), folder)
        outcomes.append((f"case {setting.seed}/{case}", wrong))
    return _row(label, outcomes)


def _served(scene: Scene) -> Iterator[tuple[str, str]]:
    """Serves models whose folder has code that MLflow's own loader would run: they answer, and nothing of it is run."""
    watched = network.Watched(scene)
    for place in payloads.served_scripts(scene):
        with scene.put_back():
            place.plant(scene.mark)
            wrong = watched.served(place.words, "/ping")
            yield place.name, "the payload was run" if scene.mark.exists() else wrong

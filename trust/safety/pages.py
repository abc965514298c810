"""Names with HTML and TeX in them, on the pages about a corpus, an experiment, a study and a model."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from trust import commands
from trust.safety.scene import Scene

SCRIPT, IMAGE = "<script>document.title='x'</script>", "<img src=x onerror=alert(1)>"
MATHS = r"$\frac$ & $x_{$"


class _Elements(HTMLParser):
    """Collects what a page must not have: scripts, and attributes that run code."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "base", "form"):
            self.found.append(f"<{tag}>")
        self.found += [
            f"<{tag} {name}>"
            for name, value in attributes
            if name.startswith("on") or (value or "").startswith("javascript:")
        ]


def pages(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yields each page about a corpus, an experiment and a study with hostile names, and what it lets through."""
    experiments = scene.folder / "experiments"
    (experiments / "studies").mkdir(parents=True, exist_ok=True)
    sounds = sorted((scene.folder / ".cache").glob("demo-*/**/*.wav"))[:64]
    table = scene.folder / "table.csv"
    lines = ["path,emotion,speaker,sentence,intensity"]
    for number, sound in enumerate(sounds):
        name = (SCRIPT, IMAGE, MATHS, "plain")[number // 16]
        emotion = ("happy", "sad")[number % 2]
        lines.append(f'{sound},{emotion},"{name}","{name}","{(MATHS, SCRIPT)[number % 2]}"')
    table.write_text("\n".join(lines), encoding="utf-8")
    name = f"{IMAGE}{MATHS}"
    corpora = f"{{demo: off, table: {{path: '{table}'}}}}"
    settings = f"base: demo_svm\ncorpora: {corpora}\nprotocol: {{name: speaker_folds, folds: 2}}\n"
    (experiments / f"{name}.yaml").write_text(f'about: "{SCRIPT}"\n{settings}', encoding="utf-8")
    (experiments / "studies" / "mine.yaml").write_text(
        f'about: "{SCRIPT}"\narms:\n  a: {{label: "{IMAGE}", experiment: "{name}"}}\n'.replace("\\", "\\\\")
        + f"  b: {{label: '{MATHS}', experiment: demo_svm, set: {{corpora: {corpora}, model.C: 10.0}}}}\n"
        + "protocols:\n  speaker_folds: {folds: 2}\n",
        encoding="utf-8",
    )
    study = commands.run(scene.folder, "study", "mine")
    yield "study", "" if study.status == 0 else f"status {study.status}: {study.printed[-400:]}"
    yield "report", _page(scene.folder / "reports" / "mine" / "index.html")
    runs = [
        line
        for line in scene.folder.glob("mlruns/artifacts/*/artifacts/predictions.csv")
        if SCRIPT in line.read_text()
    ]
    for run in runs[:1]:
        explained = commands.run(scene.folder, "explain", run.parents[1].name)
        yield "explain", "" if explained.status == 0 else f"status {explained.status}: {explained.printed[-400:]}"
        yield "explain's page", _page(scene.folder / "reports" / "explain" / run.parents[1].name[:8] / "index.html")
    yield "runs of the study", "" if runs else "none was found"


def _page(file: Path) -> str:
    if not file.exists():
        return "not written"
    parser, text = _Elements(), file.read_text(encoding="utf-8")
    parser.feed(text)
    if parser.found:
        return f"it has {parser.found[0]}"
    return "" if "&lt;img src=x" in text or "&lt;script&gt;" in text else "the names are not in it"


def app_page(folder: Path) -> str:
    """Builds the page of `make app` with a hostile card and title; returns the component that would run them."""
    from emotion_lightning.app import page
    from emotion_lightning.serving import package

    recogniser = package.read(folder)
    recogniser.about = recogniser.about.model_copy(update={"title": SCRIPT})
    built = page.build(recogniser, f"# {SCRIPT}\n{IMAGE}").get_config_file()
    for component in built["components"]:
        text = str(component["props"].get("value"))
        if ("<script" in text or "<img src=x" in text) and component["props"].get("sanitize_html") is not True:
            return f"{component['type']}: {text[:80]}"
    return "" if any(a["type"] == "markdown" for a in built["components"]) else "no text"

"""The commands on several runs at once: study, report, compare."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emotion_lightning.errors import UserError
from emotion_lightning.studies import made
from emotion_lightning.studies import study as studies
from emotion_lightning.studies.engine import Choice

REPORTS = Path("reports")


def study(name: str, overrides: list[str], choice: Choice, console: Console) -> bool:
    """Runs what is missing, writes the report and logs it to the study's run; returns False if runs are still missing."""
    return _run(studies.load(name), overrides, choice, console)


def honesty(name: str, overrides: list[str], folds: int | None, choice: Choice, console: Console) -> bool:
    """Does the same for one experiment under leaky rows and three honest protocols."""
    if folds is not None and folds < 1:
        raise UserError(f"FOLDS={folds}: at least one fold is needed")
    return _run(made.honesty(name, overrides, folds), overrides, choice, console)


def all_folds(name: str, overrides: list[str], choice: Choice, console: Console) -> bool:
    """Does the same for every fold of one experiment under its protocol."""
    return _run(made.all_folds(name, overrides), made.of_arms(overrides), choice, console)


def _run(chosen: studies.Study, overrides: list[str], choice: Choice, console: Console) -> bool:
    cells = studies.cells(chosen, overrides)
    from emotion_lightning.report import claims
    from emotion_lightning.studies.preflight import require_writable
    from emotion_lightning.studies.runner import StudyRunner

    claims.load()  # fail fast: the report needs them after all runs
    require_writable(REPORTS / chosen.name)
    runner = StudyRunner(chosen, cells, overrides, console)
    missing = runner.run(choice, lambda: _report(chosen.name, console))
    for reason, count in Counter(missing.values()).items():
        runs = "run" if count == 1 else "runs"
        console.print(f"{count} {runs} missing: {reason}", markup=False, highlight=False, soft_wrap=True)
    return not missing


def report(name: str, console: Console) -> None:
    """Writes the report of a study again, from MLflow alone."""
    _report(Path(name).stem if name.endswith((".yaml", ".yml")) else name, console)


def _report(name: str, console: Console) -> None:
    from emotion_lightning.report import formats, page, tables
    from emotion_lightning.studies import state
    from emotion_lightning.tracking import store

    folder = REPORTS / name
    results, rows = page.write(name, folder)
    means = {f"{r.group.arm.name}/{r.group.protocol}/{m}": f.mean for r in rows for m, f in r.figures.items()}
    main_table = tables.main_table(rows)
    run = results.parent.info
    state.log_report(store.connect(), run.run_id, folder, means, formats.markdown(main_table))
    title = ("DEMO · " if results.plan.demo else "") + f"study {name}, in %"
    console.print(_short_table(main_table, title))
    address = store.address(run.experiment_id, run.run_id)
    console.print(f"report: {folder / 'index.html'} · {address}", soft_wrap=True)


def _short_table(main_table: tuple[list[str], list[list[str]]], title: str) -> Table:
    """Returns the table for a terminal: without ECE, published figures, reasons and, if it has several rows, intervals."""
    header, lines = main_table
    columns = len(header) - 2
    table = Table(title=title)
    for number, column in enumerate(header[:columns]):
        # a protocol's name is not broken: it is what one types
        width = max(len(line[number]) for line in lines) if column == "protocol" else None
        table.add_column(column, overflow="fold", min_width=width)
    for line in lines:
        cells = (cell if len(lines) == 1 else cell.split(" [")[0] for cell in line[:columns])
        table.add_row(*(escape(cell.split(": ")[0]) for cell in cells))
    return table


def compare(a: str, b: str, name: str | None, console: Console) -> None:
    """Prints the paired tests of two runs, or of two arms of a study."""
    from emotion_lightning.report import tables
    from emotion_lightning.report.comparison import paired

    header, lines = tables.pair_table(paired(a, b, name))
    for line in lines:
        title = (
            f"{line[0]} against {line[1]} · {line[2]}\ndifferences are {line[0]} − {line[1]}, in percentage points"
        )
        table = Table(show_header=False, title=title)
        for key, value in zip(header[3:], line[3:], strict=True):
            table.add_row(key, escape(value))
        console.print(table)

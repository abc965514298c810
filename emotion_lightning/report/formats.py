"""Tables as Markdown, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Sequence

from emotion_lightning.report import claims
from emotion_lightning.report.summary import Row
from emotion_lightning.report.tables import Table
from emotion_lightning.training.significance import METRICS

COLUMNS = (
    *("arm", "protocol", "runs", "planned", "metric", "mean", "std", "low", "high"),
    *("published", "published_differs", "missing"),
)


def markdown(table: Table) -> str:
    """Formats a table as Markdown."""
    header, lines = table
    escaped = [
        [cell.replace("|", "\\|").replace("\n", " ") for cell in line]
        for line in [header, ["---"] * len(header), *lines]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def latex(table: Table) -> str:
    """Formats a table as LaTeX, for `\\usepackage{booktabs}`."""
    header, lines = table
    body = [" & ".join(_tex(cell) for cell in line) + r" \\" for line in [header, *lines]]
    start = [r"\begin{tabular}{" + "l" * len(header) + "}", r"\toprule", body[0], r"\midrule"]
    return "\n".join([*start, *body[1:], r"\bottomrule", r"\end{tabular}", ""])


TEX = str.maketrans(
    {
        **{c: "\\" + c for c in "%_&#${}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"},
        **{"→": r"$\rightarrow$", "×": r"$\times$", "−": "$-$", "<": "$<$", ">": "$>$"},
    }
)


def _tex(text: str) -> str:
    return text.translate(TEX)


def long_csv(rows: Sequence[Row]) -> str:
    """Formats rows as CSV, one line for each arm, protocol and metric: shares as fractions, missing runs with their reason."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        for metric in METRICS:
            figure, claim = row.figures.get(metric), next((c for c in row.claims if c.metric == metric), None)
            measured = ["", "", "", ""]
            if figure:
                ends = figure.interval or (float("nan"), float("nan"))
                measured = ["" if math.isnan(v) else f"{v:.6f}" for v in (figure.mean, figure.std, *ends)]
            published = [f"{claim.value:.4f}", claims.differs(claim, row.group.protocol)] if claim else ["", ""]
            count = [str(len(row.group.finished)), str(row.group.planned)]
            writer.writerow(
                [row.group.arm.name, row.group.shown, *count, metric, *measured, *published, "; ".join(row.reasons())]
            )
    return out.getvalue()

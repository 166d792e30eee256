"""Write the reported figures into the README files: ``python data/scripts/pages.py [PAGE ...]``.

A figure stands between two comments. The first names a function of this file and its arguments::

    <!-- figures: difference table1 after-mlm baseline -->−0.005 [−0.014, +0.004]: no difference shown<!-- end -->
"""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from molft_utils.evaluation import over_models, results
from molft_utils.files import CARRIED, ROOT

CARDS = [folder / "README.md" for folder in CARRIED.values()]
PAGES = [ROOT / "README.md", ROOT / "data/results/README.md", ROOT / "tests/README.md", *CARDS]

BETWEEN_COMMENTS = re.compile(r"(<!-- figures: (.+?) -->).*?(<!-- end -->)", re.DOTALL)


def mean(table: str, variant: str) -> str:
    """Test RMSE of a variant: mean and standard deviation over seeds."""
    rmse = _rows(table, variant=variant)["rmse"]
    return f"{rmse.mean():.3f} ± {rmse.std():.3f}"


def difference(table: str, a: str, b: str, **where: Any) -> str:
    """Test RMSE of a minus that of b with its 95 % interval; says so if the interval includes zero."""
    found = results.difference(table, a, b, **where)
    low, high = found.interval
    figure = f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}]"
    return figure if low > 0 or high < 0 else f"{figure}: {found.verdict}"


def value(table: str, columns: str, form: str, **where: str | float) -> str:
    """The mean of one column, or of three: a figure and both ends of its interval (``test,low,high``)."""
    rows = _rows(table, **where)
    figure, *interval = (f"{rows[column].mean():{form}}" for column in columns.split(","))
    return f"{figure} [{', '.join(interval)}]" if interval else figure


def lds(**where: str | float) -> str:
    """The LDS of a score: the mean over the scored models, its interval over queries, subsets and models."""
    rows = _rows("lds", **where)
    figure, (low, high) = over_models(rows["test"], rows[["low", "high"]])
    return f"{figure:.3f} [{low:.3f}, {high:.3f}]"


def pivot(table: str, rows: str, columns: str, column: str, form: str) -> str:
    """Means of a column as a whole table, rows with large means first; a dash where nothing was run."""
    means = _rows(table).pivot_table(index=rows, columns=columns.split(","), values=column)
    means = means.loc[means.mean(axis=1).sort_values(ascending=False).index]
    cells = means.map(lambda figure: "–" if pd.isna(figure) else f"{figure:{form}}").reset_index()
    lines = [["", *map(_heading, means)], ["---"] * cells.shape[1], *cells.to_numpy().tolist()]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rate(name: str, epochs: str) -> str:
    """The learning rate that the sweep chose on the validation split."""
    sweep = results.sweep()
    chosen = sweep[sweep["best"] & (sweep["name"] == name) & (sweep["epochs"] == int(epochs))]
    return f"{chosen['rate'].item():.0e}"


FUNCTIONS: dict[str, Any] = {
    "mean": mean,
    "difference": difference,
    "value": value,
    "lds": lds,
    "pivot": pivot,
    "rate": rate,
}


def rewritten(text: str) -> str:
    """A page's text, each figure as the tables have it."""
    return BETWEEN_COMMENTS.sub(lambda match: f"{match[1]}{_figure(match[2])}{match[3]}", text)


def _figure(call: str) -> str:
    name, *arguments = shlex.split(call)
    named = dict(text.split("=", 1) for text in arguments if re.match(r"\w+=", text))
    positional = [text for text in arguments if not re.match(r"\w+=", text)]
    figure = FUNCTIONS[name](*positional, **{key: _number(text) for key, text in named.items()})
    return re.sub(r"(?<!\w)-(?=\d)", "−", figure).replace("e-0", "e-")  # a minus sign, and 1e-3 for 1e-03


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _rows(table: str, **where: str | float) -> pd.DataFrame:
    rows = results.load_results(table)
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    if rows.empty:
        raise SystemExit(f"data/results/{table}.csv has no row with {where}")
    return rows


def _heading(name: object) -> str:
    if isinstance(name, tuple):  # ("permuted", 0.2) -> permuted, 20 %
        return ", ".join(map(_heading, name))
    return name if isinstance(name, str) else f"{100 * name:.0f} %" if isinstance(name, float) else f"{name:,}"


if __name__ == "__main__":
    for page in [Path(name) for name in sys.argv[1:]] or PAGES:
        page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")

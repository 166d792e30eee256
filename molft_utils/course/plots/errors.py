"""Figures of how wrong models are: while they learn, against the measured values, with intervals, over labels."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd

from ...evaluation import Difference
from ..figure import COLOURS, look, new_figure, show


@look()
def learning_curve(history: pd.DataFrame, name: str, title: str, references: Mapping[str, float] | None = None) -> None:
    """Training and validation loss of each epoch (the report's Figures 1 and 2), the kept epoch marked.

    Parameters
    ----------
    history
        ``epoch``, ``train_loss``, ``validation_loss``; losses in logD².
    references
        Label -> loss of something to compare with, drawn as horizontal lines.
    """
    figure, (axes,) = new_figure()
    axes.plot(
        history["epoch"], history["train_loss"], "o-", color=COLOURS["train"], label="training (mean over the epoch)"
    )
    axes.plot(history["epoch"], history["validation_loss"], "s--", color=COLOURS["validation"], label="validation")
    best = history.loc[history["validation_loss"].idxmin()]
    axes.plot(best["epoch"], best["validation_loss"], "o", ms=15, mfc="none", color="black", label="kept epoch")
    for label, value in (references or {}).items():
        axes.axhline(value, color=COLOURS["other"], ls=":", lw=1.2)
        axes.annotate(
            label, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9, color="#555555"
        )
    axes.set(xlabel="epoch", ylabel="mean squared error / logD²", title=title, ylim=(0, None))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.legend()
    losses = ", ".join(f"{value:.2f}" for value in history["validation_loss"])
    show(figure, name, f"{title}: losses against the epoch. Validation losses in logD²: {losses}.")


@look()
def predicted_against_measured(labels: Sequence[float], predictions: Sequence[float], name: str, title: str) -> None:
    """Scatter of predictions against labels, both in logD, with the line of equality."""
    figure, (axes,) = new_figure(4.6, 4.4)
    axes.plot(labels, predictions, ".", alpha=0.4, color=COLOURS["test"])
    ends = [min(labels), max(labels)]
    axes.plot(ends, ends, color="black", lw=1)
    axes.set(xlabel="measured logD", ylabel="predicted logD", title=title, aspect="equal")
    r = np.corrcoef(labels, predictions)[0, 1]
    show(figure, name, f"{title}: predicted against measured logD of {len(labels)} molecules, correlation {r:.2f}.")


@look()
def intervals(
    rows: Mapping[str, tuple[float, float, float]], name: str, title: str, report: Mapping[str, float] | None = None
) -> None:
    """A point and a 95 % interval for each row (test RMSE in logD), the report's figures as crosses.

    Parameters
    ----------
    rows
        Name -> (value, low, high).
    report
        Name -> the report's value, for the rows that it has.
    """
    figure, (axes,) = new_figure(7.2, 1.4 + 0.42 * len(rows))
    positions = np.arange(len(rows))[::-1]
    for y, (row, (value, low, high)) in zip(positions, rows.items(), strict=True):
        axes.errorbar(value, y, xerr=[[value - low], [high - value]], fmt="o", capsize=3, color=COLOURS["train"])
        if report and row in report:
            axes.plot(report[row], y, "X", ms=9, color=COLOURS["report"])
    axes.plot([], [], "o", color=COLOURS["train"], label="ours, 95 % interval over test molecules")
    if report:
        axes.plot([], [], "X", ms=9, color=COLOURS["report"], label="report")
    axes.set_yticks(positions, list(rows))
    axes.set(xlabel="test RMSE / logD", title=title, xlim=(0, None), ylim=(-0.6, len(rows) - 0.4))
    figure.legend(loc="outside lower center", ncols=2)
    values = "; ".join(f"{row} {value:.2f}" for row, (value, _, _) in rows.items())
    show(figure, name, f"{title}. Test RMSE in logD: {values}.")


#: How the lines of :func:`label_curves` differ, beside their colours.
_LINES = ("o-", "s-", "^-", "D--", "v--", "P--", "X:", "*:", "p:")


@look()
def label_curves(table: pd.DataFrame, name: str, title: str) -> None:
    """Test RMSE (logD) against the number of labels, both on log scales, a line with 95 % intervals for each model.

    Parameters
    ----------
    table
        ``model``, ``labels``, ``mean``, ``low`` and ``high``, as :func:`~molft_utils.evaluation.record_labels` gives
        them.
    """
    figure, (axes,) = new_figure(7.2, 4.6)
    models = list(dict.fromkeys(table["model"]))
    for place, (model, line) in enumerate(zip(models, itertools.cycle(_LINES), strict=False)):
        rows = table[table["model"] == model].sort_values("labels")
        shifted = rows["labels"] * 1.03 ** (place - len(models) / 2)  # so that the intervals lie side by side
        reach = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        axes.errorbar(shifted, rows["mean"], yerr=reach, fmt=line, capsize=2, label=model)
    axes.set(xscale="log", yscale="log", xlabel="labelled molecules", ylabel="test RMSE / logD", title=title)
    axes.set_xticks(sorted(set(table["labels"])), [f"{n:,}" for n in sorted(set(table["labels"]))], minor=False)
    ticks = [tick for tick in (0.6, 0.7, 0.8, 0.9, 1.0, 1.2) if tick > 0.95 * table["low"].min()]
    axes.set_yticks(ticks, [f"{tick:.1f}" for tick in ticks])
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2)
    best = [group.nsmallest(1, "mean").iloc[0] for _, group in table.groupby("labels")]
    said = "; ".join(f"with {row.labels:,} labels {row.model}, {row['mean']:.2f}" for row in best)
    show(figure, name, f"{title}. The smallest mean error: {said}.")


@look()
def differences(rows: Mapping[str, Difference], name: str, title: str) -> None:
    """Paired differences of the test RMSE in logD with their 95 % intervals, a row each, zero marked."""
    figure, (axes,) = new_figure(7.2, 1.4 + 0.42 * len(rows))
    positions = np.arange(len(rows))[::-1]
    colour = {"better": COLOURS["test"], "worse": COLOURS["validation"], "no difference shown": COLOURS["other"]}
    for y, row in zip(positions, rows.values(), strict=True):
        error = [[row.value - row.interval[0]], [row.interval[1] - row.value]]
        axes.errorbar(row.value, y, xerr=error, fmt="o", capsize=3, color=colour[row.verdict])
    axes.axvline(0, color="black", lw=1)
    axes.set_yticks(positions, list(rows))
    axes.set(xlabel="change of the test RMSE / logD (left: better)", title=title, ylim=(-0.6, len(rows) - 0.4))
    for verdict, shade in colour.items():
        axes.plot([], [], "o", color=shade, label=verdict)
    figure.legend(loc="outside lower center", ncols=3)
    show(figure, name, f"{title}. " + "; ".join(f"{row} {value}" for row, value in rows.items()) + ".")

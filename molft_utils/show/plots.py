"""The figures of the notebooks, every axis with its unit."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..evaluation import Difference
from .figure import COLOURS, draw_molecules, look, new_figure, show

__all__ = [
    "COLOURS",
    "attribution",
    "convergence",
    "differences",
    "draw_molecules",
    "intervals",
    "label_curves",
    "learning_curve",
    "look",
    "new_figure",
    "predicted_against_measured",
    "ranked",
    "removal",
    "selection_curves",
    "show",
    "stability",
    "table3",
    "table4",
]


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
    axes.set_yticks([0.6, 0.7, 0.8, 0.9, 1.0, 1.2], ["0.6", "0.7", "0.8", "0.9", "1.0", "1.2"])
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2)
    best = [group.nsmallest(1, "mean").iloc[0] for _, group in table.groupby("labels")]
    said = "; ".join(f"with {row.labels:,} labels {row.model}, {row['mean']:.2f}" for row in best)
    show(figure, name, f"{title}. The smallest mean error: {said}.")


@look()
def convergence(histories: Mapping[str, pd.DataFrame], name: str) -> None:
    """Residual of inverse Hessian products against the number of Hessian products spent, both on log scales."""
    figure, (axes,) = new_figure()
    for (label, history), style in zip(histories.items(), ("o-", "s--", "^:"), strict=False):
        axes.loglog(history["n_products"], history["residual"], style, label=label)
    axes.axhline(1, color=COLOURS["other"], lw=1)
    axes.annotate(
        "no better than s = 0", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9
    )
    axes.set(xlabel="Hessian products (one batch each)", ylabel="relative residual", title="Has it converged?")
    axes.legend()
    ends = "; ".join(f"{label} {history['residual'].iloc[-1]:.3f}" for label, history in histories.items())
    show(figure, name, f"Relative residual against Hessian products; at the end: {ends}.")


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


@look()
def stability(runs: Mapping[str, Sequence[tuple[float, float]]], name: str) -> None:
    """Split-half rank correlation of data values against the work spent.

    Parameters
    ----------
    runs
        Kind of value -> (marginal contributions a molecule, split-half rank correlation).
    """
    figure, (axes,) = new_figure()
    for (label, points), style in zip(runs.items(), ("o-", "s--"), strict=False):
        axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="marginal contributions a molecule", ylabel="split-half rank correlation", ylim=(0, 1))
    axes.set(title="Do two halves of the work agree?")
    axes.legend()
    ends = "; ".join(f"{label} {points[-1][1]:.2f}" for label, points in runs.items())
    show(figure, name, f"Split-half rank correlation against the number of contributions; at the end: {ends}.")


@look()
def removal(curve: pd.DataFrame, optimum: int, name: str) -> None:
    """Error of the source model against the number of molecules removed, by three orders of removal."""
    figure, (axes,) = new_figure()
    for (column, label), style in zip(
        (("lowest", "lowest values first"), ("random", "at random"), ("highest", "highest values first")),
        ("-", ":", "--"),
        strict=True,
    ):
        axes.plot(curve["n_removed"], curve[column], style, lw=2, label=label)
    axes.axvline(optimum, color="black", lw=1)
    axes.annotate(
        f" best: {optimum}", (optimum, 1), xycoords=("data", "axes fraction"), ha="left", va="top", fontsize=9
    )
    top = curve[["lowest", "random"]].to_numpy().max()
    axes.set(ylim=(None, top + 0.4 * (top - curve["lowest"].min()) + 0.01))
    axes.set(
        xlabel="molecules removed",
        ylabel="RMSE / standard deviations",
        title="The source model, as molecules are removed",
    )
    figure.legend(loc="outside lower center", ncols=3)
    last = curve.iloc[-1]
    ends = ", ".join(f"{column} {last[column]:.3f}" for column in ("lowest", "random", "highest"))
    beyond = f"highest first goes on to {last['highest']:.2f}"
    axes.annotate(beyond, (1, 0.82), xycoords="axes fraction", ha="right", va="top", fontsize=9)
    show(
        figure,
        name,
        f"RMSE of the source model against molecules removed; lowest first is best at {optimum} "
        f"({curve['lowest'].min():.3f}); with {last['n_removed']:.0f} removed: {ends}.",
    )


@look()
def table3(panels: Mapping[str, pd.DataFrame], mean_predictor: float, name: str) -> None:
    """Heat maps of the test RMSE by selection and method, side by side in the same colours.

    White is the error of predicting the mean; blue is better, red worse.

    Parameters
    ----------
    panels
        Title -> a row a cell: ``selection``, ``method``, ``rmse`` and, where it is known, its interval ``rmse_low`` to
        ``rmse_high``.
    """
    figure, axes = new_figure(12.6, 3.4, columns=len(panels))
    for panel, (title, cells) in zip(axes, panels.items(), strict=True):
        sns.heatmap(
            _wide(cells, cells["rmse"]),
            ax=panel,
            annot=_wide(cells, cells.apply(_with_interval, axis=1)),
            annot_kws={"size": 9},
            fmt="",
            cmap="RdBu_r",
            norm=matplotlib.colors.TwoSlopeNorm(mean_predictor, vmin=0.6, vmax=2.7),
            cbar=panel is axes[-1],
            cbar_kws={"label": "test RMSE / logD", "ticks": [0.6, 0.8, 1, 1.2, 1.5, 2, 2.5]},
            yticklabels=panel is axes[0],
        )
        panel.set(title=title, xlabel="", ylabel="")
        panel.tick_params(axis="y", rotation=0)
    panel_values = [
        f"{title}: " + ", ".join(f"{cell.selection}/{cell.method} {cell.rmse:.2f}" for cell in cells.itertuples())
        for title, cells in panels.items()
    ]
    show(figure, name, f"Test RMSE in logD by selection and method. {'; '.join(panel_values)}.")


def _wide(cells: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    wide = cells.assign(values=values).pivot(index="selection", columns="method", values="values")
    return wide.loc[cells["selection"].unique(), cells["method"].unique()]


def _with_interval(cell: pd.Series) -> str:
    interval = f"\n[{cell['rmse_low']:.2f}, {cell['rmse_high']:.2f}]" if "rmse_low" in cell else ""
    return f"{cell['rmse']:.3f}{interval}"


@look()
def table4(cells: pd.DataFrame, time: pd.Series, minutes: pd.Series, name: str) -> None:
    """What a method costs: time relative to full fine-tuning, ours and the report's; test RMSE; trained parameters.

    Parameters
    ----------
    cells
        A row a method: ``method``, ``rmse``, ``rmse_low``, ``rmse_high``, ``trained``.
    time, minutes
        By method: ours, and the report's, each in any unit.
    """
    cells = cells.set_index("method")
    time, theirs = time / time["full"], minutes / minutes["full"]
    figure, (left, middle, right) = new_figure(10.4, 3.2, columns=3)
    places = np.arange(len(cells))
    left.bar(places - 0.2, time[cells.index], 0.4, color=COLOURS["train"], label="ours")
    left.bar(places + 0.2, theirs[cells.index], 0.4, color=COLOURS["report"], label="report")
    left.set(ylabel="time / that of full fine-tuning", title="Time", ylim=(0, 1.5))
    left.legend(loc="upper right", ncols=2)
    interval = [cells["rmse"] - cells["rmse_low"], cells["rmse_high"] - cells["rmse"]]
    middle.bar(places, cells["rmse"], 0.6, yerr=interval, capsize=3, color=COLOURS["train"])
    middle.set(ylabel="test RMSE / logD", title="Error")
    right.plot(places, cells["trained"], "o", color=COLOURS["train"])  # a bar has no foot on a log scale
    right.set(ylabel="parameters (log scale)", title="Trained parameters", yscale="log", ylim=(1e3, 3e6))
    right.margins(x=0.2)
    for place, count in zip(places, cells["trained"], strict=True):
        right.annotate(f"{count:,}", (place, count), xytext=(0, 7), textcoords="offset points", ha="center", size=10)
    for axes in (left, middle, right):
        axes.set_xticks(places, list(cells.index))
    values = "; ".join(
        f"{m}: time {time[m]:.2f}, RMSE {cells.loc[m, 'rmse']:.2f}, {cells.loc[m, 'trained']:,} trained"
        for m in cells.index
    )
    show(figure, name, f"Cost by method, time relative to full fine-tuning. {values}.")


@look()
def attribution(table: pd.DataFrame, ceiling: float, name: str, title: str) -> None:
    """LDS of each score with its interval, beside what retraining says of itself.

    Parameters
    ----------
    table
        By score: ``LDS``, ``low`` and ``high``, as :func:`~molft_utils.evaluation.built_in_scores` gives them.
    ceiling
        As :class:`~molft_utils.evaluation.LDS` has it.
    """
    figure, (axes,) = new_figure(7.2, 1.6 + 0.42 * len(table))
    positions = np.arange(len(table))[::-1]
    reach = [table["LDS"] - table["low"], table["high"] - table["LDS"]]
    axes.barh(positions, table["LDS"], 0.6, xerr=reach, capsize=3, color=COLOURS["train"])
    axes.axvline(ceiling, color=COLOURS["validation"], ls="--", label="other seeds of the same retrainings")
    axes.axvline(0, color="black", lw=1)
    axes.set_yticks(positions, list(table.index))
    axes.set(xlabel="LDS, rank correlation with real retraining (0: chance, 1: perfect)", title=title)
    figure.legend(loc="outside lower center")
    said = "; ".join(f"{score} {value:.3f}" for score, value in table["LDS"].items())
    show(figure, name, f"{title}. LDS: {said}; other seeds {ceiling:.3f}.")


@look()
def ranked(values: np.ndarray, marked: np.ndarray, name: str, title: str) -> None:
    """Molecules from the lowest value to the highest, the marked ones in colour; beneath, how many of these are found.

    Parameters
    ----------
    values [n]
        Low where a molecule should be dropped.
    marked : bool [n]
        Whose label is wrong.
    """
    in_order = marked[np.argsort(values, kind="stable")]
    found, n_wrong = np.cumsum(in_order), int(marked.sum())
    places = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(7.2, 4.4))
    strip, curve = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    for wrong, colour in ((False, COLOURS["other"]), (True, COLOURS["validation"])):
        strip.vlines(places[in_order == wrong], 0, 1, color=colour, lw=0.6, alpha=1.0 if wrong else 0.3)
    strip.set(yticks=[], title=title)
    strip.spines["left"].set_visible(False)
    curve.plot(places, found, color=COLOURS["validation"], lw=2, label="found")
    curve.plot(places, np.minimum(places, n_wrong), color="black", lw=1, label="oracle")
    curve.plot(places, places * n_wrong / len(values), color="black", lw=1, ls=":", label="by chance")
    curve.axvline(n_wrong, color=COLOURS["other"], lw=1)
    curve.set(xlabel="molecules, the lowest value first", ylabel="wrong labels among them", ylim=(0, None))
    curve.legend(loc="lower right")
    by_chance = n_wrong**2 / len(values)
    show(
        figure,
        name,
        f"{title}. Of the {n_wrong} lowest values {found[n_wrong - 1] if n_wrong else 0} have wrong labels, by chance "
        f"{by_chance:.0f}.",
    )


#: Colours of six rules, from the same palette as the others.
_RULES = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00")

#: The edges of what a rule can do, in black and grey; the rules between them have the colours.
_EDGES = {
    "keep all": dict(fmt="s-", color="black"),
    "oracle": dict(fmt="s--", color="black"),
    "trusted only": dict(fmt="s:", color=COLOURS["other"]),
}


@look()
def selection_curves(table: pd.DataFrame, kind: str, rules: Sequence[str], name: str, title: str) -> None:
    """Test RMSE (logD) against the share of wrong labels, a line with 95 % intervals for each rule.

    Parameters
    ----------
    table
        As :func:`~molft_utils.evaluation.record_selection` gives it.
    kind
        The kind of error.
    rules
        From the first to the last of the legend. Where no label is wrong, each of them keeps all.
    """
    rows = table[table["kind"] == kind]
    clean = rows[(rows["share"] == 0) & (rows["rule"] == "keep all")]
    figure, (axes,) = new_figure(8.4, 4.6)
    styles, said = itertools.cycle(zip("o^DvP*", _RULES, strict=True)), []
    for place, rule in enumerate(rules):
        own = rows[rows["rule"] == rule]
        own = (own if (own["share"] == 0).any() else pd.concat([clean, own])).sort_values("share")
        shifted = 100 * own["share"] + 0.4 * (place - len(rules) / 2)  # so that the intervals lie side by side
        reach = [own["mean"] - own["low"], own["high"] - own["mean"]]
        if rule in _EDGES:
            style = _EDGES[rule]
        else:
            marker, colour = next(styles)
            style = dict(fmt=f"{marker}-", color=colour)
        axes.errorbar(shifted, own["mean"], yerr=reach, capsize=2, lw=1.8, label=rule, **style)
        said.append(f"{rule} {own['mean'].iloc[-1]:.2f}")
    axes.set(xlabel="wrong labels in the pool / %", ylabel="test RMSE / logD", title=title)
    axes.set_xticks(sorted(100 * rows["share"].unique()))
    figure.legend(loc="outside right upper")
    show(figure, name, f"{title}. With {100 * rows['share'].max():.0f} % wrong: {'; '.join(said)}.")

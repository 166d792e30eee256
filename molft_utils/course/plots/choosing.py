"""Figures of how training data are chosen: scores and values, whether they can be trusted, what they find and gain."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..figure import COLOURS, SIX, look, new_figure, show


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
    axes.set(xlabel="LDS, rank correlation with retraining\n(0: chance, 1: perfect)", title=title)
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
    styles, said = itertools.cycle(zip("o^DvP*", SIX, strict=True)), []
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

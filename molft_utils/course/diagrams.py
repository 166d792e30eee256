"""Pictures of ideas: a game played in several orders, and the corner of a Cholesky factor."""

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle

from .figure import COLOURS, look, new_figure, show


@look()
def staircase(
    paths: Sequence[np.ndarray], orders: Sequence[Sequence[int]], players: Sequence[str], marked: int, name: str
) -> None:
    """The utility as players join, a panel for each order; the steps of one player stand out.

    Parameters
    ----------
    paths
        For each order the utilities [m + 1], from that of nobody on.
    orders
        The players in the order of joining.
    players
        Their names.
    marked
        The player whose steps stand out: the mean of these steps over all orders is its value.
    """
    figure, axes = new_figure(3.1 * len(orders), 3.4, columns=len(orders))
    steps, (low, high) = [], (np.min(paths), np.max(paths))
    for panel, path, order in zip(axes, paths, orders, strict=True):
        panel.step(range(len(path) + 1), [*path, path[-1]], where="post", color=COLOURS["other"])
        for k, player in enumerate(order):
            colour = COLOURS["validation"] if player == marked else COLOURS["train"]
            panel.annotate("", (k + 1, path[k + 1]), (k + 1, path[k]), arrowprops=dict(arrowstyle="->", color=colour))
            if player == marked:
                steps.append(path[k + 1] - path[k])
                panel.annotate(f" {steps[-1]:+.2f}", (k + 1, (path[k] + path[k + 1]) / 2), color=colour)
        panel.set_xticks(range(len(path)), ["nobody", *(f"+ {players[p]}" for p in order)], rotation=30, ha="right")
        panel.set(ylim=(low - 0.08 * (high - low), high + 0.08 * (high - low)))
    axes[0].set(ylabel="utility U", title=f"Some orders: what {players[marked]} adds")
    said = ", ".join(f"{step:+.2f}" for step in steps)
    show(figure, name, f"Utility as players join, in {len(orders)} orders; {players[marked]} adds {said}.")


@look()
def cholesky_corner(factor: np.ndarray, k: int, by_factor: np.ndarray, by_refit: np.ndarray, name: str) -> None:
    """The factor of all molecules with the corner that belongs to the first k, beside the utility of every prefix.

    Parameters
    ----------
    factor [m, m]
        Lower triangular.
    k
        The corner's size.
    by_factor, by_refit [m]
        Utility of each prefix, from the one factorisation and from a fit of its own.
    """
    figure, (left, right) = new_figure(8.6, 3.6, columns=2)
    shown = np.where(np.tri(len(factor), dtype=bool), np.abs(factor), np.nan)
    left.imshow(shown, cmap="Blues", vmin=0)
    left.add_patch(Rectangle((-0.5, -0.5), k, k, fill=False, lw=2.5, color=COLOURS["validation"]))
    left.annotate(f"the first {k}", (k - 0.2, k / 2 - 0.5), color=COLOURS["validation"], va="center")
    left.set(
        xlabel="molecule, in the order of joining", ylabel="molecule", title="One factor holds those of all prefixes"
    )
    right.plot(range(1, len(by_factor) + 1), by_factor, "-", color=COLOURS["train"], label="one factorisation")
    right.plot(
        range(1, len(by_refit) + 1), by_refit, "o", mfc="none", color=COLOURS["validation"], label="a fit for each"
    )
    right.set(xlabel="molecules that have joined", ylabel="utility U", title="Utility of every prefix")
    right.legend()
    gap = np.abs(by_factor - by_refit).max()
    show(figure, name, f"A Cholesky factor with the corner of the first {k} molecules; utilities agree to {gap:.0e}.")

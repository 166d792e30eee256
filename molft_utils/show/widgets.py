"""Sliders and menus, each with a static picture beneath it, so that the page reads without a kernel."""

import itertools
from collections.abc import Sequence

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import display
from transformers import PreTrainedModel

from ..molformer import load_tokenizer
from ..training import fill_mask
from . import plots


@plots.look()
def length_slider(lengths: np.ndarray, name: str) -> None:
    """Show what a maximum length costs: a slider over the limit, and the same as a picture.

    Parameters
    ----------
    lengths : np.ndarray [n]
        Token counts.
    name
        The picture's file name, without its ending.
    """
    limits = np.arange(32, 257, 8)
    cut = np.array([(lengths > limit).sum() for limit in limits])
    padding = np.array([1 - np.minimum(lengths, limit).sum() / (limit * len(lengths)) for limit in limits])

    def describe(limit: int) -> None:
        i = int(np.abs(limits - limit).argmin())
        print(f"{limit} tokens: {cut[i]} of {len(lengths):,} molecules are cut, {padding[i]:.0%} is padding")

    slider = ipywidgets.IntSlider(128, min=32, max=256, step=8, description="limit", continuous_update=False)
    display(ipywidgets.interactive(describe, limit=slider))
    figure, (left, right) = plots.new_figure(8.4, 3.2, columns=2)
    left.plot(limits, cut, color=plots.COLOURS["train"])
    left.set_yscale("symlog", linthresh=1)  # linear from 0 to 1, logarithmic above
    left.set(xlabel="limit / tokens", ylabel="molecules cut (log scale)", title="What a limit cuts")
    right.plot(limits, 100 * padding, color=plots.COLOURS["train"])
    right.set(
        xlabel="limit / tokens", ylabel="padding / %", title="Padding if all were as wide as the limit", ylim=(0, 100)
    )
    for axes in (left, right):
        axes.axvline(128, color=plots.COLOURS["validation"], ls="--")
        axes.annotate(" 128", (128, 0.93), xycoords=("data", "axes fraction"), color=plots.COLOURS["validation"])
    at = int(np.abs(limits - 128).argmin())
    plots.show(
        figure, name, f"Molecules cut and padding against the limit; at 128: {cut[at]} cut, {padding[at]:.0%} padding."
    )


@plots.look()
def fill_mask_menu(model: PreTrainedModel, smiles: str, name: str) -> None:
    """Hide any token of a molecule: a slider over its tokens, and all of them at once as a picture."""
    tokens = load_tokenizer().tokenize(smiles)

    def guess(position: int) -> None:
        print(" ".join("<mask>" if i == position else token for i, token in enumerate(tokens)))
        display(fill_mask(model, smiles, position))

    slider = ipywidgets.IntSlider(0, min=0, max=len(tokens) - 1, description="token", continuous_update=False)
    display(ipywidgets.interactive(guess, position=slider))
    guesses = [fill_mask(model, smiles, i, k=model.config.vocab_size) for i in range(len(tokens))]
    chances = [float(g.loc[g["right"], "probability"].iloc[0]) for g in guesses]
    figure, (axes,) = plots.new_figure(0.4 * len(tokens) + 1.5, 3)
    axes.bar(range(len(tokens)), chances, color=plots.COLOURS["train"])
    axes.set_xticks(range(len(tokens)), tokens, family="monospace")
    axes.set(xlabel="the token that is hidden", ylabel="probability of the true token", ylim=(0, 1))
    axes.set_title("One token hidden at a time: how sure is the model of the right one?")
    chosen = ", ".join(f"{token} {chance:.2f}" for token, chance in zip(tokens, chances, strict=True))
    plots.show(figure, name, f"Probability of the true token for each token of {smiles}: {chosen}.")


@plots.look()
def permutation_slider(paths: np.ndarray, orders: np.ndarray, players: Sequence[str], name: str) -> None:
    """Walk through the orders of a small game: a slider over the orders, and the values so far as a picture.

    Parameters
    ----------
    paths : np.ndarray [n_orders, m + 1]
        Utilities along each order, from that of nobody on.
    orders : np.ndarray [n_orders, m]
        The players in the order of joining.
    players
        Their names.
    """
    marginals = np.zeros(orders.shape)
    np.put_along_axis(marginals, orders, np.diff(paths, axis=1), axis=1)
    so_far = np.cumsum(marginals, axis=0) / np.arange(1, len(orders) + 1)[:, None]

    def describe(order: int) -> None:
        print(f"order {order}: " + ", then ".join(players[p] for p in orders[order - 1]))
        rows = {"adds here": marginals[order - 1], "mean so far": so_far[order - 1]}
        display(pd.DataFrame(rows, index=list(players)).round(3))

    slider = ipywidgets.IntSlider(1, min=1, max=len(orders), description="order", continuous_update=False)
    display(ipywidgets.interactive(describe, order=slider))
    figure, (axes,) = plots.new_figure()
    for player, line, style in zip(players, so_far.T, itertools.cycle(("-", "--", "-.", ":")), strict=False):
        axes.plot(range(1, len(orders) + 1), line, style, lw=2, label=player)
    axes.set(xlabel="orders so far", ylabel="mean contribution", title="Values as the orders come in")
    figure.legend(loc="outside right upper")
    ends = ", ".join(f"{player} {value:+.2f}" for player, value in zip(players, so_far[-1], strict=True))
    plots.show(figure, name, f"Mean contribution of each player against the number of orders; at the end {ends}.")

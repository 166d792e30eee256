"""Sliders and menus, each with a static picture beneath it, so that the page reads without a kernel."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import ipywidgets
import matplotlib
import numpy as np
import pandas as pd
from IPython.display import display
from transformers import PreTrainedModel

from ..data import canonicalise, similarities
from ..errors import DataError
from ..evaluation import auroc
from ..molformer import load_tokenizer
from ..training import fill_mask
from . import plots


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


@plots.look()
def any_molecule(
    predictors: Mapping[str, Callable[[Sequence[str]], np.ndarray]], known: pd.DataFrame, smiles: str, name: str
) -> None:
    """Type a SMILES: its tokens, what each model says of it, and the most similar molecules that they were trained on.

    Parameters
    ----------
    predictors
        Name -> a function from SMILES to logD.
    known
        Training molecules: ``smiles``, ``label``.
    smiles
        The molecule at the start, which the picture shows.
    """

    def describe(text: str) -> None:
        try:
            molecule = canonicalise(text)
        except DataError as error:
            print(error)
            return
        print("tokens:", " ".join(load_tokenizer().tokenize(molecule)))
        found = {label: float(predict([molecule])[0]) for label, predict in predictors.items()}
        display(pd.DataFrame({"predicted logD": found}).round(2))
        display(_neighbours(molecule, known).round(2))

    box = ipywidgets.Text(smiles, description="SMILES", continuous_update=False)
    display(ipywidgets.interactive(describe, text=box))
    molecule, near = canonicalise(smiles), _neighbours(canonicalise(smiles), known)
    said = "\n".join(f"{label} {float(predict([molecule])[0]):.2f}" for label, predict in predictors.items())
    legends = [said, *(f"measured {row.label:.2f}, similarity {row.similarity:.2f}" for row in near.itertuples())]
    alt = f"{smiles}, predicted logD {said.replace(chr(10), ', ')}, and the three most similar training molecules."
    plots.draw_molecules([molecule, *near["smiles"]], legends, name, alt)


def _neighbours(smiles: str, known: pd.DataFrame, k: int = 3) -> pd.DataFrame:
    """The k training molecules of largest Tanimoto similarity to a molecule."""
    similarity = similarities([smiles], known["smiles"])[0]
    return known.assign(similarity=similarity).nlargest(k, "similarity")[["smiles", "label", "similarity"]]


@plots.look()
def scale_slider(run: Callable[[float], np.ndarray], exact: np.ndarray, name: str) -> None:
    """LiSSA's scale until it explodes: a slider over the scale, and the distances of several scales as a picture.

    Parameters
    ----------
    run
        From a scale, as a multiple of the largest eigenvalue, to the path [steps, d].
    exact [d]
        Where the path should end.
    """

    def distances(scale: float) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.linalg.norm(run(scale) - exact, axis=1) / np.linalg.norm(exact)

    def describe(scale: float) -> None:
        away = distances(scale)
        places = [place for place in (1, 3, 10, 30, 100, 300) if place <= len(away)]
        rows = {"products": places, "distance from the exact s": [f"{away[place - 1]:.2g}" for place in places]}
        display(pd.DataFrame(rows).set_index("products"))
        print("it explodes" if not away[-1] < away[0] else "it comes nearer")

    slider = ipywidgets.FloatSlider(1.5, min=0.3, max=5, step=0.1, description="σ / largest", continuous_update=False)
    display(ipywidgets.interactive(describe, scale=slider))
    figure, (axes,) = plots.new_figure()
    ends = []
    for scale, style in ((0.4, ":"), (0.6, "-."), (1.5, "-"), (5.0, "--")):
        away = distances(scale)
        axes.semilogy(1 + np.arange(len(away)), away, style, lw=1.6, label=f"σ = {scale:g} × largest")
        ends.append(f"{scale:g} times the largest eigenvalue {away[-1]:.1g}")
    axes.set(xlabel="products", ylabel="distance / size of exact s", ylim=(1e-3, 1e3), title="The scale decides")
    figure.legend(loc="outside right upper")
    plots.show(figure, name, f"Distance from the exact solution with four scales; at the end {'; '.join(ends)}.")


@plots.look()
def damping_slider(scores: Mapping[float, np.ndarray], wrong: np.ndarray, name: str) -> None:
    """How the damping moves wrong labels through the ranking: a slider over dampings, and all of them as a picture.

    Parameters
    ----------
    scores
        Damping, as a share of the largest eigenvalue -> a score for each molecule [n], low where it harms.
    wrong : bool [n]
    """
    found = {damping: auroc(wrong, -values)[0] for damping, values in scores.items()}

    def describe(damping: float) -> None:
        first = np.argsort(scores[damping], kind="stable")[: wrong.sum()]
        strip = "".join("█" if wrong[i] else "·" for i in first[:: max(1, len(first) // 100)])
        print(f"among the {len(first)} lowest {wrong[first].sum()} are wrong; AUROC {found[damping]:.3f}")
        print(strip)

    slider = ipywidgets.SelectionSlider(options=[(f"{d:g}", d) for d in scores], description="damping")
    display(ipywidgets.interactive(describe, damping=slider))
    figure, (axes,) = plots.new_figure()
    axes.semilogx(list(found), list(found.values()), "o-", color=plots.COLOURS["train"])
    axes.axhline(0.5, color="black", lw=1, ls=":")
    axes.annotate("chance", (0.02, 0.5), xycoords=("axes fraction", "data"), va="bottom", size=9)
    axes.set(xlabel="damping / largest eigenvalue", ylabel="AUROC, wrong labels", ylim=(0.45, 1))
    axes.set_title("How much curvature is left?")
    said = ", ".join(f"{damping:g} {value:.2f}" for damping, value in found.items())
    plots.show(figure, name, f"AUROC of the wrong labels against the damping: {said}.")


@plots.look()
def cell_menu(cells: Mapping[str, tuple[pd.DataFrame, np.ndarray]], test: pd.DataFrame, name: str) -> None:
    """Pick a cell of the grid: its loss and the molecules on which it errs most; all curves as a picture.

    Parameters
    ----------
    cells
        Name -> its history (``epoch`` and ``train_loss``, in logD²) and its test predictions [n], logD.
    test
        ``smiles``, ``label``.
    """

    def describe(cell: str) -> None:
        history, predictions = cells[cell]
        display(history[["epoch", "train_loss"]].set_index("epoch").round(3).T)
        rows = test[["smiles", "label"]].assign(prediction=predictions)
        rows["error"] = (rows["prediction"] - rows["label"]).abs()
        display(rows.nlargest(4, "error").round(2))

    menu = ipywidgets.Dropdown(options=list(cells), description="cell")
    display(ipywidgets.interactive(describe, cell=menu))
    figure, (axes,) = plots.new_figure()
    for (cell, (history, _)), style in zip(
        cells.items(), itertools.cycle(("o-", "s--", "^:", "D-.", "v-")), strict=False
    ):
        axes.plot(history["epoch"], history["train_loss"], style, label=cell)
    axes.set(xlabel="epoch", ylabel="training loss / logD²", ylim=(0, None), title="How the methods learn")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    figure.legend(loc="outside right upper")
    ends = ", ".join(f"{cell} {history['train_loss'].iloc[-1]:.2f}" for cell, (history, _) in cells.items())
    plots.show(figure, name, f"Training loss against the epoch, in logD²; at the end: {ends}.")

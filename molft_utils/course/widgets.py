"""Sliders and menus, each with a static picture below it, so that a page can be read without a kernel."""

from collections.abc import Callable, Mapping, Sequence

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import display
from ipywidgets import interactive
from transformers import PreTrainedModel

from ..data import canonicalise, similarities
from ..errors import DataError
from ..molformer import load_tokenizer
from ..training import fill_mask
from . import plots
from .figure import BLUE, GREEN, PURPLE, SKY

#: Name of a model -> its function from SMILES to predictions.
Predictors = Mapping[str, Callable[[Sequence[str]], np.ndarray]]


@plots.look()
def fill_mask_menu(models: Mapping[str, PreTrainedModel], smiles: str, name: str, title: str) -> None:
    """Mask any token of a molecule: a slider over its tokens, and the probability of each true token as a picture."""
    tokens = load_tokenizer().tokenize(smiles)

    def describe(position: int) -> None:
        print(" ".join("<mask>" if i == position else token for i, token in enumerate(tokens)))
        for label, model in models.items():
            display(fill_mask(model, smiles, position).rename_axis(label))

    display(interactive(describe, position=_slider("token", 0, len(tokens) - 1)))
    figure, (axes,) = plots.new_figure(0.2 * len(tokens) + 2, 3.4)
    said = []
    for place, (label, model) in enumerate(models.items()):
        guesses = [fill_mask(model, smiles, i, k=model.config.vocab_size) for i in range(len(tokens))]
        found = [float(guess.loc[guess["right"], "probability"].iloc[0]) for guess in guesses]
        bars = np.arange(len(tokens)) + 0.8 * (place + 0.5) / len(models) - 0.4
        axes.bar(bars, found, 0.8 / len(models), color=plots.colour_of(label), label=label)
        said.append(f"{label} " + ", ".join(f"{t} {p:.2f}" for t, p in zip(tokens, found, strict=True)))
    axes.set_xticks(range(len(tokens)), tokens, family="monospace")
    axes.set(xlabel="masked token", ylabel="probability of the true token", ylim=(0, 1), title=title)
    figure.legend(loc="outside lower center", ncols=2)
    plots.show(figure, name, f"Probability of the true token at each place of {smiles}: {'; '.join(said)}.")


@plots.look()
def permutation_slider(paths: np.ndarray, orders: np.ndarray, players: list[str], name: str, wrong: int = -1) -> None:
    """Step through the permutations of a small game; arguments as :func:`~.drawings.staircase` has them."""
    marginals = np.zeros(orders.shape)
    np.put_along_axis(marginals, orders, np.diff(paths, axis=1), axis=1)
    so_far = np.cumsum(marginals, axis=0) / np.arange(1, len(orders) + 1)[:, None]

    def describe(number: int) -> None:
        print(f"permutation {number}: " + ", then ".join(players[p] for p in orders[number - 1]))
        rows = {"adds here": marginals[number - 1], "mean so far": so_far[number - 1]}
        display(pd.DataFrame(rows, index=players).round(3))

    display(interactive(describe, number=_slider("permutation", 1, len(orders))))
    figure, (axes,) = plots.new_figure()
    axes.set_prop_cycle(color=[BLUE, SKY, GREEN, PURPLE], ls=["--", "-.", ":", "--"])
    for player, line in zip(players, so_far.T, strict=True):
        axes.plot(range(1, len(orders) + 1), line, lw=2, label=player)
    axes.lines[wrong].set(color=plots.COLOURS["wrong label"], ls="-")
    axes.set(xlabel="number of permutations", ylabel="mean contribution", title="Values, as permutations are added")
    plots.label_ends(axes)
    plots.show(figure, name)


@plots.look()
def any_molecule(predictors: Predictors, known: pd.DataFrame, smiles: str, name: str, unit: str = "logD") -> None:
    """Type a SMILES, at first ``smiles``: its tokens, each model's prediction, the most similar ``known`` molecules."""

    def predicted(molecule: str) -> dict[str, float]:
        return {label: float(predict([molecule])[0]) for label, predict in predictors.items()}

    def describe(text: str) -> None:
        try:
            molecule = canonicalise(text)
        except DataError as error:
            print(error)
            return
        print("tokens:", " ".join(load_tokenizer().tokenize(molecule)))
        display(pd.DataFrame({f"predicted {unit}": predicted(molecule)}).round(2))
        display(_neighbours(molecule, known).round(2))

    field = ipywidgets.Text(smiles, description="SMILES", continuous_update=False)
    display(interactive(describe, text=field))
    molecule = canonicalise(smiles)
    near = _neighbours(molecule, known)
    found = "\n".join(f"{label} {value:.2f}" for label, value in predicted(molecule).items())
    legends = [found, *(f"measured {row.label:.2f}\nsimilarity {row.similarity:.2f}" for row in near.itertuples())]
    alt = f"{smiles}, predicted {unit}: {found.replace(chr(10), ', ')}; and the three most similar training molecules."
    plots.draw_molecules([molecule, *near["smiles"]], legends, name, alt, per_row=2)


def _neighbours(smiles: str, known: pd.DataFrame, k: int = 3) -> pd.DataFrame:
    """The k training molecules of largest Tanimoto similarity to a molecule."""
    similarity = similarities([smiles], known["smiles"])[0]
    return known.assign(similarity=similarity).nlargest(k, "similarity")[["smiles", "label", "similarity"]]


@plots.look()
def scale_slider(run: Callable[[float], np.ndarray], exact: np.ndarray, name: str) -> None:
    """LiSSA's scale, from divergence to slow convergence: a slider, and the distances for four scales as a picture.

    ``run``: a scale, as a multiple of the largest eigenvalue -> iterates s [steps, d]; ``exact`` [d]: where they should
    end. After each step the last half of the iterates is averaged.
    """

    def distances(scale: float) -> np.ndarray:
        with np.errstate(all="ignore"):
            sums = np.cumsum(np.vstack([np.zeros_like(exact), run(scale)]), axis=0)
            steps = np.arange(1, len(sums))
            means = (sums[steps] - sums[steps // 2]) / (steps - steps // 2)[:, None]
            return np.linalg.norm(means - exact, axis=1) / np.linalg.norm(exact)

    def describe(scale: float) -> None:
        found = distances(scale)
        verdict = "converges" if found[-1] < found[0] else "diverges"
        print(f"{verdict}: distance {found[-1]:.2g} after {len(found)} products")

    slider = ipywidgets.FloatSlider(1.5, min=0.3, max=5, step=0.1, description="σ / largest", continuous_update=False)
    display(interactive(describe, scale=slider))
    figure, (axes,) = plots.new_figure()
    for scale, style in ((0.4, ":"), (0.6, "-."), (1.5, "-"), (5.0, "--")):
        found = distances(scale)
        axes.semilogy(1 + np.arange(len(found)), found, style, lw=1.6, label=f"σ = {scale:g} × largest")
    axes.set(xlabel="products (one batch each)", ylabel="relative error of s", ylim=(1e-2, 1e3))
    axes.set_title("LiSSA diverges if the scale is too small")
    figure.legend(loc="outside right upper")
    plots.show(figure, name)


def _slider(description: str, low: int, high: int) -> ipywidgets.IntSlider:
    return ipywidgets.IntSlider(low, min=low, max=high, description=description, continuous_update=False)

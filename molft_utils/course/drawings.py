"""Drawings of ideas: adapters, a molecule on its way through the model, attention, permutations, a Cholesky factor."""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D
from seaborn import heatmap
from sklearn.decomposition import PCA

from .figure import COLOURS, look, new_figure, show

#: Tokens that are atoms; the others are bonds, branches, ring numbers, and the two ends.
_ATOM = re.compile(r"^(\[[^]]+\]|Br|Cl|[BCNOPSFIbcnops])$")


@look()
def adapters(trained: Mapping[str, int], name: str) -> None:
    """A linear layer from x to h as each method changes it, what trains in colour; ``trained``: method -> number."""
    titles = {"full": "Full fine-tuning", "bitfit": "BitFit", "lora": "LoRA", "ia3": "(IA)³"}
    figure, axes = new_figure(7.2, 7.8, columns=2, rows=2)
    for panel, (method, title) in zip(axes, titles.items(), strict=True):
        _layer(panel, method)
        panel.set_title(f"{title}\n{trained[method]:,} trainable parameters", loc="center")
    counts = ", ".join(f"{title} {trained[method]:,}" for method, title in titles.items())
    alt = "W and b train; b alone; the product of two small matrices, added to a frozen W; a factor for each output"
    show(figure, name, f"A layer W x + b, four times: {alt}. Trained parameters: {counts}.")


def _layer(panel: Axes, method: str) -> None:
    """Input x at the bottom, output h at the top, and between them the boxes of one method."""
    _blank(panel)
    x_of_W = 2.6 if method == "lora" else 4.0
    panel.text(4, 0.4, "x", ha="center", size=15, style="italic")
    panel.text(4, 9.2, "h", ha="center", size=15, style="italic")
    _box(panel, x_of_W, 3.6, 2.6, 2.2, "W", method == "full")
    _box(panel, 4, 6.5, 2.6, 0.7, "+ b", method in ("full", "bitfit"))
    _arrow(panel, (4, 1.0), (x_of_W, 2.4))
    _arrow(panel, (x_of_W, 4.8), (4, 6.1))
    if method == "lora":
        _box(panel, 6.3, 2.9, 2.0, 0.7, "A", True)
        _box(panel, 6.3, 4.7, 2.0, 0.7, "B", True)
        for start, end in (((4, 1.0), (6.3, 2.5)), ((6.3, 3.3), (6.3, 4.3)), ((6.3, 5.1), (4, 6.1))):
            _arrow(panel, start, end)
        panel.text(6.45, 3.8, "rank r", size=10, color=COLOURS["trained"], va="center")
        panel.text(6.6, 5.6, "× α / r", size=10, color=COLOURS["trained"])
    if method == "ia3":
        _arrow(panel, (4, 6.9), (4, 7.6))
        _box(panel, 4, 8.0, 2.6, 0.7, "⊙ ℓ", True)
        _arrow(panel, (4, 8.4), (4, 9.1))
    else:
        _arrow(panel, (4, 6.9), (4, 9.1))


@look()
def switching(sizes: Mapping[str, int], name: str) -> None:
    """Two uses of adapters: small files for one checkpoint, or merged. ``sizes``: "checkpoint", "adapter" -> bytes."""
    whole, small = f"{sizes['checkpoint'] / 1e6:.1f} MB", f"{sizes['adapter'] / 1e6:.1f} MB"
    figure, (left, right) = new_figure(7.2, 7.2, rows=2)
    _blank(left)
    left.set_title("Switching: one checkpoint, one adapter per task", loc="center")
    _box(left, 4, 2.6, 6.4, 2.2, f"checkpoint, frozen\n{whole}, loaded once", False)
    for x, task in ((1.6, "logD"), (4.0, "solubility"), (6.4, "toxicity")):
        _box(left, x, 6.9, 1.9, 1.6, f"{task}\n{small}", True)
        _arrow(left, (x, 6.0), (x, 3.8))
    left.text(4, 8.5, "adapter and head", ha="center", size=11, color=COLOURS["trained"])
    _blank(right)
    right.set_title("Merging: one full model per task", loc="center")
    _box(right, 1.9, 2.6, 2.6, 2.2, "W", False)
    right.text(3.75, 2.6, "+", ha="center", va="center", size=16)
    _box(right, 5.8, 2.6, 2.6, 2.2, "(α / r) B A", True)
    _arrow(right, (1.9, 3.8), (3.6, 5.7))
    _arrow(right, (5.8, 3.8), (4.4, 5.7))
    _box(right, 4, 6.9, 5.6, 2.2, f"W′, {whole}\nas fast as before, nothing to switch", False)
    show(figure, name, f"A frozen checkpoint of {whole} with three adapters of {small}; or B A added to W: {whole}.")


@look()
def one_line(smiles: str, tokens: Sequence[str], width: int, name: str, unit: str = "logD") -> None:
    """From a molecule to a prediction: drawing, SMILES, tokens, vectors of a given width, their mean, one number."""
    figure, (axes,) = new_figure(7.2, 3.6)
    _blank(axes)
    axes.imshow(_molecule(smiles), extent=(0, 2.2, 5.5, 9.5), aspect="auto", zorder=2)
    shown = " ".join(tokens[:5]) + (" …" if len(tokens) > 5 else "")
    steps = [
        (4.0, 7.5, f"SMILES\n{smiles if len(smiles) < 20 else smiles[:12] + '…'}"),
        (6.8, 7.5, f"{len(tokens)} tokens\n{shown}"),
        (6.8, 2.5, f"encoder\n{len(tokens)} vectors of\n{width} numbers"),
        (4.0, 2.5, f"mean\n{width} numbers"),
        (1.2, 2.5, f"head\n{unit} = ?"),
    ]
    for place, (x, y, text) in enumerate(steps):
        _box(axes, x, y, 2.0, 3.2, text, trains=place in (2, 4))
    for y, x, to_x in ((7.5, 2.3, 2.9), (7.5, 5.1, 5.7), (2.5, 5.7, 5.1), (2.5, 2.9, 2.3)):
        _arrow(axes, (x, y), (to_x, y))
    _arrow(axes, (6.8, 5.8), (6.8, 4.2))
    alt = f"A molecule, its SMILES {smiles}, {len(tokens)} tokens, a vector of {width} numbers for each, their mean"
    show(figure, name, f"{alt}, and from it the head's {unit}. Encoder and head train.")


@look()
def attention_map(smiles: str, tokens: Sequence[str], weights: np.ndarray, name: str, title: str) -> None:
    """Attention weights [queries, keys] of all pairs of tokens, and their mean over queries on the atoms, one scale.

    A weight is shown relative to uniform attention: each row sums to 1, so uniform is 1 / number of tokens.
    """
    relative = weights * len(tokens)
    received = relative.mean(axis=0)
    of_atoms = received[[i for i, token in enumerate(tokens) if _ATOM.match(token)]]
    figure, (top, bottom) = new_figure(6.4, 8.0, rows=2, height_ratios=(2, 5))
    top.imshow(_molecule(smiles, matplotlib.colormaps["Oranges"](of_atoms / relative.max()), (900, 360)))
    top.axis("off")
    top.set_title(title)
    scale = {"cmap": "Oranges", "vmin": 0, "cbar_kws": {"label": "weight / uniform weight"}}
    heatmap(relative, xticklabels=tokens, yticklabels=tokens, square=True, ax=bottom, **scale)
    bottom.tick_params(labelsize=10, labelfontfamily="monospace")
    bottom.set(xlabel="token that is attended to (key)", ylabel="token that attends (query)")
    most = ", ".join(f"{tokens[i]} (position {i}) {received[i]:.1f}" for i in np.argsort(-received)[:3])
    alt = f"Attention weights of {smiles} in the last layer, mean over heads. Largest means over queries: {most}"
    show(figure, name, f"{alt} times the uniform weight.")


@look()
def embedding_maps(vectors: Mapping[str, np.ndarray], labels: Sequence[float], name: str, unit: str = "logD") -> None:
    """Molecules on the first two principal components of each model's pooled vectors [n, d], coloured by label."""
    figure, axes = new_figure(6.4, 3.6 * len(vectors), rows=len(vectors))
    for panel, (title, rows) in zip(axes, vectors.items(), strict=True):
        pca = PCA(2, random_state=0)
        places = pca.fit_transform(rows)
        points = panel.scatter(*places.T, c=labels, cmap="viridis", s=10)
        strongest = max(abs(np.corrcoef(places[:, k], labels)[0, 1]) for k in (0, 1))
        panel.set(title=f"{title}: |correlation with {unit}| {strongest:.2f}", xticks=[], yticks=[])
        x, y = (f"component {k} ({s:.0%} of the variance)" for k, s in enumerate(pca.explained_variance_ratio_, 1))
        panel.set(xlabel=x, ylabel=y)
    figure.colorbar(points, ax=list(axes), label=f"measured {unit}")
    show(figure, name)


@look()
def staircase(
    paths: np.ndarray, orders: np.ndarray, values: np.ndarray, players: list[str], wrong: int, name: str
) -> None:
    """The utility as players join, one panel per permutation, then their values, which are the means of their steps.

    ``paths`` [n, m + 1] are the utilities along each permutation, starting with that of the empty set; ``orders``
    [n, m] the players in the order of joining. The steps of player ``wrong`` are highlighted; n is odd.
    """
    rows = (len(orders) + 1) // 2
    figure, (*panels, last) = new_figure(6.8, 2.8 * rows, columns=2, rows=rows, sharey=True)
    colours = [COLOURS["wrong label" if player == wrong else "train"] for player in range(len(players))]
    steps = []
    for panel, path, order in zip(panels, paths, orders, strict=True):
        panel.step(range(len(path) + 1), [*path, path[-1]], where="post", color=COLOURS["other"])
        for k, player in enumerate(order):
            _arrow(panel, (k + 1, path[k]), (k + 1, path[k + 1]), colours[player])
            if player == wrong:
                steps.append(f"{path[k + 1] - path[k]:+.2f}")
                panel.set_title(f"here {players[wrong]} adds {steps[-1]}")
        panel.set_xticks(range(len(path)), ["nobody", *(f"+ {players[p]}" for p in order)], rotation=30, ha="right")
        panel.set_ylabel("utility U")
    last.bar(players, values, color=colours)
    last.axhline(0, color="black", lw=1)
    last.set(title=f"{players[wrong]}'s mean over all: {values[wrong]:+.2f}", ylabel="mean contribution")
    means = ", ".join(f"{player} {value:+.2f}" for player, value in zip(players, values, strict=True))
    alt = f"Utility as players join, in {len(orders)} permutations; {players[wrong]} adds {', '.join(steps)}"
    show(figure, name, f"{alt}. Means over all permutations: {means}.")


@look()
def cholesky_corner(factor: np.ndarray, k: int, by_factor: np.ndarray, by_refit: np.ndarray, name: str) -> None:
    """A Cholesky factor [m, m] with the corner of the first k molecules; the utility [m] of every prefix, both ways."""
    figure, (upper, lower) = new_figure(5.6, 7.2, rows=2, height_ratios=(4, 3))
    above = np.triu(np.ones(factor.shape), 1) > 0
    heatmap(np.abs(factor), mask=above, cmap="Blues", vmin=0, square=True, cbar_kws={"label": "|L|"}, ax=upper)
    upper.add_patch(Rectangle((0, 0), k, k, fill=False, lw=2.5, color=COLOURS["wrong label"]))
    upper.annotate(f"the first {k}", (k + 0.3, k / 2), color=COLOURS["wrong label"], va="center")
    upper.set(xlabel="molecule", ylabel="molecule", title=f"The factor of the first {k} is a corner of L")
    m = range(1, len(by_factor) + 1)
    lower.plot(m, by_factor, "-", color=COLOURS["train"], label="one factorisation")
    lower.plot(m, by_refit, "o", mfc="none", color=COLOURS["validation"], label="one fit per prefix")
    lower.set(xlabel="molecules that have joined", ylabel="utility U", title="Utility of every prefix")
    lower.legend()
    show(figure, name)


def _molecule(smiles: str, colours: np.ndarray | None = None, size: tuple[int, int] = (620, 480)) -> np.ndarray:
    """A molecule as an image [height, width, channels], its atoms in colours [atoms, 4] if they are given."""
    molecule, drawer = Chem.MolFromSmiles(smiles), rdMolDraw2D.MolDraw2DCairo(*size)
    drawer.drawOptions().useBWAtomPalette()
    shades = {i: tuple(float(c) for c in shade[:3]) for i, shade in enumerate([] if colours is None else colours)}
    drawer.DrawMolecule(molecule, highlightAtoms=list(shades), highlightAtomColors=shades, highlightBonds=[])
    drawer.FinishDrawing()
    return matplotlib.image.imread(io.BytesIO(drawer.GetDrawingText()))


def _blank(panel: Axes, width: float = 8) -> None:
    panel.set(xlim=(0, width), ylim=(0, 10))
    panel.axis("off")


def _box(panel: Axes, x: float, y: float, width: float, height: float, text: str, trains: bool) -> None:
    """A box centred on x, y: coloured if it trains, else grey."""
    colour, line = (COLOURS["trained"], 2.2) if trains else (COLOURS["frozen"], 1.4)
    corner = (x - width / 2, y - height / 2)
    panel.add_patch(FancyBboxPatch(corner, width, height, "round,pad=0.05", fc=f"{colour}33", ec=colour, lw=line))
    panel.text(x, y, text, ha="center", va="center", size=12)


def _arrow(panel: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = "#555555") -> None:
    panel.annotate("", end, start, arrowprops=dict(arrowstyle="->", color=colour, lw=1.3))

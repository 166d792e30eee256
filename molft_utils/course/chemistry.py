"""Pictures of molecules as the model sees them: on their way through it, in its attention, on a map."""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.image
import numpy as np
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D
from sklearn.decomposition import PCA

from .boxes import arrow, blank, box
from .figure import look, new_figure, show

#: Tokens that are atoms; the others are bonds, branches, ring numbers and the ends.
_ATOM = re.compile(r"^(\[[^]]+\]|Br|Cl|[BCNOPSFIbcnops])$")


@look()
def one_line(smiles: str, tokens: Sequence[str], width: int, prediction: float, name: str) -> None:
    """From a molecule to its logD: drawing, SMILES, tokens, vectors, their mean, a number.

    Parameters
    ----------
    tokens
        Of the SMILES.
    width
        Dimensions of a token's vector.
    prediction
        logD.
    """
    figure, (axes,) = new_figure(13.0, 2.6)
    blank(axes)
    axes.set(xlim=(0, 26), ylim=(0, 10))
    axes.imshow(_drawing(smiles), extent=(0, 4.6, 1, 9.4), aspect="auto", zorder=2)
    shown = " ".join(tokens[:6]) + (" …" if len(tokens) > 6 else "")
    stations = [
        (7.0, 3.6, f"SMILES\n{smiles if len(smiles) < 20 else smiles[:18] + '…'}"),
        (11.4, 3.8, f"{len(tokens)} tokens\n{shown}"),
        (15.9, 3.6, f"encoder\n{len(tokens)} × {width} numbers"),
        (20.0, 3.0, f"mean\n{width} numbers"),
        (24.0, 3.2, f"head\nlogD {prediction:.2f}"),
    ]
    for place, (x, box_width, text) in enumerate(stations):
        box(axes, x, 5.2, box_width, 4.4, text, trains=place in (2, 4))
    for start, end in ((4.5, 5.1), (8.9, 9.4), (13.4, 14.0), (17.8, 18.4), (21.6, 22.3)):
        arrow(axes, (start, 5.2), (end, 5.2))
    show(
        figure,
        name,
        f"One molecule's way: drawing, SMILES {smiles}, {len(tokens)} tokens, a vector of {width} numbers for each "
        f"token, their mean, and the head's logD of {prediction:.2f}. Encoder and head are what trains.",
    )


@look()
def attention_map(smiles: str, tokens: Sequence[str], weights: np.ndarray, name: str, title: str) -> None:
    """Who looks at whom: the weights of all pairs of tokens, and the atoms in the colour of how much is looked at them.

    Parameters
    ----------
    weights [tokens, tokens]
        A row sums to 1 (:func:`~molft_utils.training.attention`).
    """
    received = weights.mean(axis=0)
    atoms = [i for i, token in enumerate(tokens) if _ATOM.match(token)]
    figure, (left, right) = new_figure(11.6, 4.6, columns=2)
    left.imshow(_drawing(smiles, received[atoms]))
    left.axis("off")
    left.set_title(title)
    image = right.imshow(weights * len(tokens), cmap="viridis")
    right.set_xticks(range(len(tokens)), tokens, family="monospace", rotation=90, size=9)
    right.set_yticks(range(len(tokens)), tokens, family="monospace", size=9)
    right.set(xlabel="is looked at", ylabel="looks")
    figure.colorbar(image, ax=right, label="weight / that of looking at all alike")
    order = np.argsort(-received)[:3]
    said = ", ".join(f"{tokens[i]} (place {i}) {received[i] * len(tokens):.1f}" for i in order)
    show(
        figure,
        name,
        f"Attention of {smiles} in the last layer, mean over heads. Most looked at: {said} times the mean.",
    )


@look()
def embedding_maps(vectors: Mapping[str, np.ndarray], labels: Sequence[float], name: str) -> None:
    """Molecules on the two main directions of their pooled vectors, coloured by logD, a panel for each model.

    Parameters
    ----------
    vectors
        Title -> pooled vectors [n, d].
    labels
        logD [n].
    """
    figure, axes = new_figure(6.2 * len(vectors), 4.6, columns=len(vectors))
    said = []
    for panel, (title, rows) in zip(axes, vectors.items(), strict=True):
        places = PCA(2, random_state=0).fit_transform(rows)
        points = panel.scatter(*places.T, c=labels, cmap="viridis", s=10)
        order = max(abs(np.corrcoef(places[:, k], labels)[0, 1]) for k in (0, 1))
        said.append(f"{title} {order:.2f}")
        panel.set(title=title, xlabel="first direction", ylabel="second direction", xticks=[], yticks=[])
    figure.colorbar(points, ax=list(axes), label="measured logD")
    alt = f"Maps of {len(labels)} molecules. Larger correlation of a direction with logD: {', '.join(said)}."
    show(figure, name, alt)


def _drawing(smiles: str, weights: np.ndarray | None = None) -> np.ndarray:
    """A molecule as an image [height, width, channels], its atoms coloured by weights, if there are any."""
    molecule = Chem.MolFromSmiles(smiles)
    drawer = rdMolDraw2D.MolDraw2DCairo(620, 480)
    drawer.drawOptions().useBWAtomPalette()
    if weights is None:
        drawer.DrawMolecule(molecule)
    else:
        shades = matplotlib.colormaps["Oranges"](0.8 * weights / weights.max())
        colours = {i: tuple(float(c) for c in shade[:3]) for i, shade in enumerate(shades)}
        drawer.DrawMolecule(molecule, highlightAtoms=list(colours), highlightAtomColors=colours, highlightBonds=[])
    drawer.FinishDrawing()
    return matplotlib.image.imread(io.BytesIO(drawer.GetDrawingText()))

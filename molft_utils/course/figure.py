"""What every figure shares: one look, a file of its own, a text alternative."""

import base64
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
import seaborn as sns
from cycler import cycler
from IPython.display import display
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from ..files import figures_folder, write_atomically

#: Okabe and Ito's palette, which stays apart for every kind of colour vision.
COLOURS = dict(train="#0072B2", validation="#D55E00", test="#009E73", other="#999999", report="#CC79A7")

#: Six colours of the same palette, for lines of equal standing.
SIX = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00")

#: Pixels from the left to the right that a projector shows well.
PROJECTOR = 1400

#: The look that every figure shares: seaborn's "notebook" and "ticks", and our own colours and spines.
LOOK = {
    **sns.plotting_context("notebook"),
    **sns.axes_style("ticks"),
    "font.family": "sans-serif",
    "axes.prop_cycle": cycler(color=list(COLOURS.values())),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
}


@contextmanager
def look() -> Iterator[None]:
    """Draw in the shared look (a context, or a decorator); afterwards the reader's own settings are as they were."""
    with matplotlib.rc_context(LOOK):
        yield


@look()
def new_figure(width: float = 6.4, height: float = 3.6, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure outside pyplot (nothing is left open) with a row of axes, sizes in inches; draw in :func:`look`."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(1, columns, squeeze=False)[0]


@look()
def show(figure: Figure, name: str, alt: str) -> None:
    """Write ``<name>.png`` into the folder of figures and show the figure with its text alternative.

    Warns
    -----
    UserWarning
        If a text reaches over the edge.
    """
    buffer, width = io.BytesIO(), figure.get_figwidth()
    figure.savefig(buffer, format="png", dpi=max(110, PROJECTOR / width))
    if cut := texts_over_the_edge(figure):
        warnings.warn(f"{name}: cut off at the edge: {', '.join(cut)}", UserWarning, stacklevel=3)
    show_png(buffer.getvalue(), name, alt, round(100 * width))


def texts_over_the_edge(figure: Figure) -> list[str]:
    """The texts of a figure that are not wholly on it; ticks lie at their axes, and are left out."""
    FigureCanvasAgg(figure).draw()
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    ticks = {id(text) for axis in axes for tick in axis.findobj(Tick) for text in (tick.label1, tick.label2)}
    edge, cut = figure.bbox, []
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible() and id(text) not in ticks:
            box = text.get_window_extent()
            if box.width and (min(box.x0, box.y0) < -1 or box.x1 > edge.x1 + 1 or box.y1 > edge.y1 + 1):
                cut.append(text.get_text())
    return cut


def show_png(png: bytes, name: str, alt: str, width: int | None = None) -> None:
    """Write and show a finished picture, on a page so many pixels wide."""
    write_atomically(figures_folder() / f"{name}.png", png)
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt} | ({"width": width} if width else {})})


def draw_molecules(smiles: Sequence[str], legends: Sequence[str], name: str, alt: str, per_row: int = 4) -> None:
    """Draw molecules in a grid, a legend under each."""
    rows = -(-len(smiles) // per_row)
    width = PROJECTOR // per_row
    height = round(0.87 * width)
    drawer = rdMolDraw2D.MolDraw2DCairo(width * per_row, height * rows, width, height)
    drawer.drawOptions().legendFontSize = width // 13  # type: ignore[assignment]  # rdkit's stubs are generated
    molecules = [Chem.MolFromSmiles(s) for s in smiles]
    drawer.DrawMolecules(molecules, legends=list(legends))
    drawer.FinishDrawing()
    show_png(drawer.GetDrawingText(), name, alt, 230 * per_row)

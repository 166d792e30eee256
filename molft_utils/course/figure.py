"""What all figures share: one look, one colour for each thing that is shown, a file, and a text alternative."""

import base64
import functools
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.colors
import matplotlib.style
import numpy as np
from cycler import cycler
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from ..files import figures_folder, write_atomically

#: Okabe and Ito's palette, which readers with any colour vision can tell apart; the grey is darker, away from purple.
BLACK, GREY, ORANGE, SKY = "#000000", "#666666", "#E69F00", "#56B4E9"
GREEN, BLUE, VERMILION, PURPLE = "#009E73", "#0072B2", "#D55E00", "#CC79A7"

#: Name -> colour, in every figure of the repository. Names of one line share a colour: they are variants of one idea,
#: and :func:`styles` draws them with different lines.
COLOURS = {
    # splits, and molecules
    "train": BLUE, "validation": VERMILION, "test": GREEN, "scaffold": ORANGE,
    "right label": GREY, "wrong label": VERMILION, "neutral": BLUE, "ionisable": VERMILION,
    # fine-tuning methods
    "full": BLACK, "bitfit": ORANGE, "lora": SKY, "lora-all": BLUE, "ia3": GREEN,
    "trained": VERMILION, "frozen": GREY,
    # rules of selection, and the scores behind them
    "keep all": BLACK, "none": BLACK, "clean only": GREY, "random": SKY, "oracle": GREEN,
    "TS-DShapley": BLUE, "ts-dshapley": BLUE, "KNN-Shapley": BLUE, "Banzhaf": BLUE, "Beta(1, 16)": BLUE,
    "influence": PURPLE, "Gauss-Newton": PURPLE, "Hessian": PURPLE, "gradient product": PURPLE,
    "self-influence": PURPLE, "loss": ORANGE,
    "leave-one-out residual": VERMILION, "out-of-fold residual": VERMILION, "ridge leave-one-out": VERMILION,
    "ridge out-of-fold": VERMILION, "ridge out-of-bag": VERMILION,
    # models
    "mini": BLUE, "mini-descriptors": VERMILION, "rxnmapper": PURPLE, "random weights": GREY,
    "SVR on ECFP4": GREEN,
    "pretrained weights": BLUE, "checkpoint": BLUE, "fine-tuning alone": BLUE, "continued pretraining": VERMILION,
    "random forest on ECFP4": ORANGE, "SVR on descriptors": SKY, "ridge on descriptors": PURPLE,
    # whose result it is, and everything else
    "ours": BLUE, "report": PURPLE, "better": GREEN, "worse": VERMILION, "equal": BLUE,
    "no difference shown": GREY, "other": GREY,
}  # fmt: skip

#: Pixels from left to right that a projector shows well.
PROJECTOR = 1400

#: The look of all figures, on top of matplotlib's defaults.
LOOK = {
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


@contextmanager
def look() -> Iterator[None]:
    """Draw in the shared look (a context, or a decorator); afterwards the reader's own settings are as they were."""
    with matplotlib.style.context(["default", LOOK]):
        yield


def colour_of(name: str) -> str:
    """The colour of a name or of a variant: that of "lora-all" for "lora-all, r = 4"; grey for an unknown name."""
    return COLOURS.get(name) or COLOURS.get(re.split(r", | without ", name)[0], GREY)


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of each curve; curves of one colour differ in their lines."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(names):
        n_alike = sum(style["color"] == colour_of(name) for style in found.values())
        line, marker = ("-", "--", ":", "-.")[n_alike % 4], "os^DvPX*p"[len(found) % 9]
        found[name] = {"color": colour_of(name), "ls": line, "marker": marker}
    return found


@look()
def new_figure(
    width: float = 6.4, height: float = 3.6, columns: int = 1, rows: int = 1, **more: Any
) -> tuple[Figure, np.ndarray]:
    """A figure outside pyplot (nothing is left open) with its axes in a line, sizes in inches; draw in :func:`look`."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **more).ravel()


def label_ends(axes: Axes) -> None:
    """The name of each labelled line at its right end, in its colour, instead of a legend; names keep a distance."""
    handles, names = axes.get_legend_handles_labels()
    lines = [getattr(handle, "lines", [handle])[0] for handle in handles]  # of error bars the line
    place, (low, high) = -np.inf, axes.get_ylim()
    end = max(line.get_xdata()[-1] for line in lines)
    for name, line in sorted(zip(names, lines, strict=True), key=lambda pair: pair[1].get_ydata()[-1]):
        place = max(line.get_ydata()[-1], place + 0.07 * (high - low))
        axes.annotate(name, (end, place), (8, 0), textcoords="offset points", va="center", color=line.get_color())


@look()
def show(figure: Figure, name: str, alt: str = "") -> None:
    """Show a figure with its text alternative, by default titles, axes and last values; save it as ``<name>.png``."""
    buffer, width = io.BytesIO(), figure.get_figwidth()
    figure.savefig(buffer, format="png", dpi=max(110, PROJECTOR / width))
    show_png(buffer.getvalue(), name, alt or described(figure), round(100 * width))


def described(figure: Figure) -> str:
    """Panel by panel: the title, what is drawn against what, and the last value of each labelled line."""
    panels = []
    for axes in figure.axes:
        lines = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        lines = {label: getattr(line, "lines", [line])[0] for label, line in lines.items()}  # of error bars the line
        ends = [f"{k} {line.get_ydata()[-1]:.3g}" for k, line in lines.items() if hasattr(line, "get_ydata")]
        title = (axes.get_title(loc="left") or axes.get_title()).replace("\n", ", ")
        text = f"{title}: {axes.get_ylabel() or figure.axes[0].get_ylabel()} against {axes.get_xlabel()}"
        panels += [text + (f"; last values: {', '.join(ends)}" if ends else "")] if title else []  # no colour bar
    return ". ".join(panels) + "."


def show_png(png: bytes, name: str, alt: str, width: int) -> None:
    """Show a picture, so many pixels wide, and write it into the folder of figures where that is possible."""
    buffer = io.BytesIO()
    # A third of the bytes with 256 colours: a page of figures stays small.
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(buffer, "png", optimize=True)
    png = buffer.getvalue()
    try:
        write_atomically(figures_folder() / f"{name}.png", png)
    except OSError as error:  # a read-only checkout must not stop a lesson
        why = f"figures are not saved in {figures_folder()} ({error.strerror})"
        _warn_once(f"{why}; set MOLFT_FIGURES to another folder")
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt, "width": width}})


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def draw_molecules(
    smiles: Sequence[str], legends: Sequence[str], name: str, alt: str, per_row: int = 4, scaffolds: Sequence = ()
) -> None:
    """Draw molecules in a grid, a legend of one line under each; ``scaffolds``: for each the atoms to be coloured."""
    width = PROJECTOR // per_row
    height = round(0.87 * width)
    n_rows = -(-len(smiles) // per_row)
    drawer = rdMolDraw2D.MolDraw2DCairo(width * per_row, height * n_rows, width, height)
    drawer.drawOptions().legendFontSize = width // 13  # type: ignore[assignment]  # rdkit's stubs are generated
    drawer.drawOptions().legendFraction = 0.12  # type: ignore[assignment]
    drawer.drawOptions().setHighlightColour(matplotlib.colors.to_rgb(COLOURS["scaffold"]))
    coloured = [list(atoms) for atoms in scaffolds] or None
    drawer.DrawMolecules([Chem.MolFromSmiles(s) for s in smiles], legends=list(legends), highlightAtoms=coloured)
    drawer.FinishDrawing()
    show_png(drawer.GetDrawingText(), name, alt, 230 * per_row)

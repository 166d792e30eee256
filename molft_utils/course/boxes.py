"""Pictures made of boxes and arrows: where the fine-tuning methods put what trains, and what becomes of it."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from .figure import COLOURS, look, new_figure, show

TRAINS, FROZEN = COLOURS["validation"], COLOURS["other"]


@look()
def adapters(trained: Mapping[str, int], name: str) -> None:
    """One linear layer, from its input x to its output h, as each method changes it; coloured is what trains.

    Parameters
    ----------
    trained
        "full", "bitfit", "lora" and "ia3" -> how many numbers of the layer train.
    """
    titles = {"full": "Full fine-tuning", "bitfit": "BitFit", "lora": "LoRA", "ia3": "(IA)³"}
    figure, axes = new_figure(12.8, 4.0, columns=4)
    for panel, (method, title) in zip(axes, titles.items(), strict=True):
        _layer(panel, method)
        panel.set_title(f"{title}\n{trained[method]:,} numbers train", loc="center")
    said = "; ".join(f"{titles[method]} trains {trained[method]:,}" for method in titles)
    show(
        figure,
        name,
        f"A layer W x + b in four panels. Full: W and b train. BitFit: b alone. LoRA: W and b are frozen, and beside W "
        f"run the small matrices A and B, whose product is added. (IA)³: a factor for each output. {said}.",
    )


def _layer(panel: Axes, method: str) -> None:
    """Input x below, output h above, and between them the boxes of one method."""
    beside = method == "lora"
    middle = 2.6 if beside else 4.0
    blank(panel)
    panel.text(4, 0.4, "x", ha="center", size=15, style="italic")
    panel.text(4, 9.2, "h", ha="center", size=15, style="italic")
    box(panel, middle, 3.6, 2.6, 2.2, "W", method == "full")
    box(panel, 4, 6.5, 2.6, 0.7, "+ b", method in ("full", "bitfit"))
    arrow(panel, (4, 1.0), (middle, 2.4))
    arrow(panel, (middle, 4.8), (4, 6.1))
    if beside:
        box(panel, 6.3, 2.9, 2.0, 0.7, "A", True)
        box(panel, 6.3, 4.7, 2.0, 0.7, "B", True)
        arrow(panel, (4, 1.0), (6.3, 2.5))
        arrow(panel, (6.3, 3.3), (6.3, 4.3))
        arrow(panel, (6.3, 5.1), (4, 6.1))
        panel.text(7.5, 3.7, "r wide", size=10, color=TRAINS, ha="center")
        panel.text(6.6, 5.6, "× α / r", size=10, color=TRAINS)
    if method == "ia3":
        arrow(panel, (4, 6.9), (4, 7.6))
        box(panel, 4, 8.0, 2.6, 0.7, "⊙ ℓ", True)
        arrow(panel, (4, 8.4), (4, 9.1))
    else:
        arrow(panel, (4, 6.9), (4, 9.1))


@look()
def switching(sizes: Mapping[str, int], name: str) -> None:
    """Two lives of an adapter: many small files on one checkpoint, or merged into the weights.

    Parameters
    ----------
    sizes
        "checkpoint" and "adapter" -> bytes on disk.
    """
    figure, (left, right) = new_figure(11.0, 3.8, columns=2)
    for panel, title in ((left, "Switch: one checkpoint, an adapter a task"), (right, "Merge: one plain model a task")):
        blank(panel)
        panel.set_title(title, loc="center")
    box(left, 4, 2.6, 6.4, 2.2, f"checkpoint, frozen\n{_size(sizes['checkpoint'])}, loaded once", False)
    for x, task in ((1.6, "logD"), (4.0, "solubility"), (6.4, "toxicity")):
        box(left, x, 6.9, 1.9, 1.6, f"{task}\n{_size(sizes['adapter'])}", True)
        arrow(left, (x, 6.0), (x, 3.8))
    left.text(4, 8.5, "adapter, head, Ω", ha="center", size=11, color=TRAINS)
    box(right, 1.9, 2.6, 2.6, 2.2, "W", False)
    right.text(3.75, 2.6, "+", ha="center", va="center", size=16)
    box(right, 5.8, 2.6, 2.6, 2.2, "(α / r) B A", True)
    arrow(right, (1.9, 3.8), (3.6, 5.7))
    arrow(right, (5.8, 3.8), (4.4, 5.7))
    box(right, 4, 6.9, 5.6, 2.2, f"W′, {_size(sizes['checkpoint'])}\nas fast as before, nothing to switch", False)
    show(
        figure,
        name,
        f"Left: a frozen checkpoint of {_size(sizes['checkpoint'])} with three adapters of {_size(sizes['adapter'])} "
        f"each, any of which can be put on it. Right: the update is added to W, which gives a plain model of the "
        f"checkpoint's size.",
    )


def _size(n_bytes: int) -> str:
    """Bytes for a person: kB below a megabyte."""
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


def blank(panel: Axes) -> None:
    panel.set(xlim=(0, 8), ylim=(0, 10))
    panel.axis("off")


def box(panel: Axes, x: float, y: float, width: float, height: float, text: str, trains: bool) -> None:
    """A box centred on x, y: coloured where it trains, else grey."""
    colour = TRAINS if trains else FROZEN
    corner = (x - width / 2, y - height / 2)
    panel.add_patch(
        FancyBboxPatch(corner, width, height, "round,pad=0.05", fc=f"{colour}33", ec=colour, lw=2.2 if trains else 1.4)
    )
    panel.text(x, y, text, ha="center", va="center", size=12)


def arrow(panel: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    panel.annotate("", end, start, arrowprops=dict(arrowstyle="->", color="#555555", lw=1.3))

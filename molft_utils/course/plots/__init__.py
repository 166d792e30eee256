"""The figures of the notebooks, every axis with its unit."""

from ..figure import COLOURS, draw_molecules, look, new_figure, show
from .benchmark import peers
from .choosing import attribution, convergence, ranked, removal, selection_curves, stability
from .costs import luck, rate_curves, table3, table4
from .errors import differences, intervals, label_curves, learning_curve, predicted_against_measured

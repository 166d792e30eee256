"""What runs once and is loaded afterwards: the notebooks' pipeline, selections, noisy labels, the grid."""

from . import grid, noisy_labels, pipeline, rules, selection
from .costs import PeakMemory, optimiser_bytes, saved_bytes, seconds_per_step
from .pipeline import graded
from .rules import RULES, SELECTIONS, keep_top, rule_values, training_table

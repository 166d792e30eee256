"""What is run once and found again: stages, the pipeline of the notebooks, selections, the grid."""

from . import grid, pipeline, selection
from .cost import seconds_a_step

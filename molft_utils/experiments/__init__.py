"""What runs once and is loaded afterwards: stages, the pipeline of the notebooks, selections, the grid."""

from . import doubtful, grid, pipeline, rules, selection
from .cost import PeakMemory, optimiser_bytes, saved_bytes, seconds_a_step
from .grading import graded
from .stages import Kind, commit, in_folder, inputs_of, run_stage

"""Data values by TS-DShapley."""

from ..training import embed
from .marginals import prefix_utilities
from .removal import removal_curve
from .sampling import Values, exact_values, permutation_values, rank_correlation, ts_dshapley

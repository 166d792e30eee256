"""Data values by TS-DShapley."""

from ..training import embed
from .enumeration import exact_values
from .marginals import prefix_utilities
from .removal import removal_curve
from .sampling import Values, permutation_values, rank_correlation, ts_dshapley

"""Data values by TS-DShapley."""

from ..training import embed
from .enumeration import exact_values
from .marginals import prefix_utilities
from .removal import removal_curve
from .rivals import banzhaf_values, beta_values, knn_values, leave_one_out, out_of_bag, out_of_fold, semivalues
from .sampling import Values, permutation_values, rank_correlation, ts_dshapley

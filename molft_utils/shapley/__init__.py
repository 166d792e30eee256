"""Data values by TS-DShapley, and other data values at comparable cost."""

from ..training import embed
from .other_values import banzhaf_values, beta_values, knn_values, leave_one_out, out_of_bag, out_of_fold, semivalues
from .removal import removal_curve
from .ts_dshapley import Values, exact_values, permutation_values, prefix_utilities, rank_correlation, ts_dshapley

"""How good predictions are, how sure that is, and what is on record."""

from . import of_record, records
from .datamodels import LDS, ceiling, group_gains, lds, lds_difference
from .intervals import Difference, auroc, mean_rmse, paired_difference
from .leaderboard import built_in_scores, grade
from .metrics import Scores, evaluate, scores
from .of_record import (
    best_rate,
    record,
    record_cells,
    record_difference,
    record_labels,
    record_labels_difference,
    record_selection,
    record_selection_difference,
    record_sweep,
)
from .pool import gaps, hand_in, mean_gap, pooled, record_luck
from .report import beside_report, read_report, report_table3, report_table4
from .retraining import BANK, GROUPS, Bank, data_hashes, load_bank, read_bank, write_bank

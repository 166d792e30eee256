"""How good predictions are, how sure that is, what retraining says of scores, and the reported results."""

from . import results
from .banks import BANK, DROPS, GROUPS, Bank, data_hashes, load_bank
from .drops import grade_drops
from .metrics import Difference, Scores, auroc, evaluate, mean_rmse, paired_difference, scores
from .results import (
    difference,
    load_results,
    load_submissions,
    mean_gap,
    paired_gaps,
    read_report,
    report_table3,
    report_table4,
    submit,
    summary,
    sweep,
)
from .retraining import (
    LDS,
    ShiftAgreement,
    built_in_scores,
    grade,
    group_gains,
    lds,
    lds_difference,
    over_models,
    shift_agreement,
)

"""How good predictions are, how sure that is, what retraining says of scores, and the reported results."""

from . import results
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
    BANK,
    DROPS,
    GROUPS,
    LDS,
    Bank,
    ShiftAgreement,
    built_in_scores,
    data_hashes,
    grade,
    group_gains,
    lds,
    lds_difference,
    load_bank,
    over_models,
    shift_agreement,
)

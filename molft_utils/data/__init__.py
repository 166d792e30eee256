"""Molecules, tables of them, splits, and what fingerprints make of them."""

from .fingerprints import baseline_predictions, ecfp4_counts, nearest_similarity, random_forest, similarities, svr
from .molecules import canonicalise, flat_key, parse_or_raise, randomised, token_ids
from .splits import Split, overlap, split, table_hash
from .tables import check_table, load_lipophilicity, load_logp, load_secondary, load_table

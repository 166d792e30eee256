"""Sizes of predicted changes against real ones: the textbooks' figures, and intervals that cover them."""

import numpy as np
import pytest
from scipy.stats import linregress, spearmanr

from molft_utils import DataError
from molft_utils.evaluation import Bank, grade_drops

N, N_QUERIES, N_SUBSETS, STD = 200, 12, 30, 1.3
SHARES = [0.01, 0.05, 0.1]


def bank_and_scores(offset=0.0, noise=0.0):
    """A bank whose losses change exactly as the scores say, but for a common offset and noise; row 0 drops none."""
    rng = np.random.default_rng(0)
    members = np.ones((1 + N_SUBSETS * len(SHARES), N), dtype=bool)
    for subset, row in enumerate(members[1:]):
        row[rng.permutation(N)[: round(SHARES[subset % 3] * N)]] = False
    scores = rng.normal(size=(N_QUERIES, N))
    changes = STD**2 / N * (~members) @ scores.T
    changes[1:] += offset + noise * rng.normal(size=changes[1:].shape) * changes[1:].std(axis=0)
    return Bank(members, np.sqrt(5 + changes)[:, None], np.zeros(N_QUERIES)), scores


def figures(table):
    return table[["pearson", "spearman", "slope"]].to_numpy()


@pytest.mark.parametrize("mean", [False, True])
def test_figures_are_those_of_the_textbooks_in_medians_over_queries(mean):
    bank, scores = bank_and_scores(offset=0.3, noise=1.0)
    scores = scores.mean(axis=0, keepdims=True) if mean else scores
    table = grade_drops(scores, bank, STD, mean)
    assert table.index.tolist() == SHARES and (table["n_subsets"] == 30).all()
    assert (table["n_queries"] == len(scores)).all()
    changes = (bank.losses() - bank.losses()[0])[:, 0]
    changes = changes.mean(axis=1, keepdims=True) if mean else changes
    for share, found in table.iterrows():
        rows = (~bank.members).sum(axis=1) == round(share * N)
        predicted, real = STD**2 / N * ~bank.members[rows] @ scores.T, changes[rows]
        lines = [linregress(x, y) for x, y in zip(predicted.T, real.T, strict=True)]
        ranks = [spearmanr(x, y)[0] for x, y in zip(predicted.T, real.T, strict=True)]
        expected = {"pearson": [x.rvalue for x in lines], "spearman": ranks, "slope": [x.slope for x in lines]}
        for name, values in expected.items():
            assert found[name] == pytest.approx(np.median(values))
            assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_exact_scores_have_ones_at_any_size_and_constant_ones_nothing():
    bank, scores = bank_and_scores()
    assert np.allclose(figures(grade_drops(scores / 1e9, bank, STD)), [1, 1, 1e9])
    for none in (0, np.full(scores.shape, 0.1)):  # a share's subsets are all of one size
        assert (figures(grade_drops(scores * 0 + none, bank, STD)) == 0).all()


def test_intervals_cover_other_subsets_and_queries():
    """Each sees half of the queries and of the subsets; nearly all include the figure over everything."""
    bank, scores = bank_and_scores(noise=0.7)
    whole, included = grade_drops(scores, bank, STD), 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows, queries = np.append(0, 1 + rng.permutation(90)[:45]), rng.permutation(N_QUERIES)[:6]
        part = Bank(bank.members[rows], bank.predictions[rows][:, :, queries], bank.labels[queries])
        table = grade_drops(scores[queries], part, STD)
        for name in ("pearson", "spearman", "slope"):
            included += (table[f"{name}_low"].le(whole[name]) & table[f"{name}_high"].ge(whole[name])).sum()
    assert included >= 0.9 * 10 * 3 * len(SHARES)


def test_what_does_not_fit_is_refused():
    bank, scores = bank_and_scores()
    for wrong, mean in ((scores[:-1], False), (scores.T, False), (scores, True), (None, False)):
        with pytest.raises(DataError, match=r"\(1, 200\)" if mean else r"\(12, 200\)"):
            grade_drops(wrong, bank, STD, mean)
    with pytest.raises(DataError, match="not finite"):
        grade_drops(scores * np.nan, bank, STD)
    with pytest.raises(DataError, match="trained on all molecules"):
        grade_drops(scores, Bank(bank.members[1:], bank.predictions[1:], bank.labels), STD)

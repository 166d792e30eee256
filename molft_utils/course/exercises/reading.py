"""Exercises of notebooks 1 to 3: split, fine-tune, read."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from ...files import data_file
from .exercise import Exercise, Missed, require_callable, require_close


def remaining(answer: float) -> None:
    """01.1: 4,200 molecules, cut 70/30, then 90/10."""
    require_close(
        answer, 0.7 * 0.9 * 4200, 0.5,
        {
            "That is the first cut alone; the validation split still has to come out of it.": 0.7 * 4200,
            "The second cut takes a tenth of what is left, not a tenth of all.": 0.6 * 4200,
            "That is the split of this notebook, 80/20 first.": 3024,
        },
    )  # fmt: skip


def scaffold_test(answer: Callable[[Sequence[str], float], Sequence[int]]) -> str:
    """01.2: a function of SMILES and a share that returns the rows of a test split which shares no scaffold."""
    require_callable(answer, "scaffold_test")
    smiles = pd.read_csv(data_file("lipophilicity.csv"))["smiles"].head(600).tolist()
    scaffolds = np.array([MurckoScaffoldSmiles(s) for s in smiles])
    rows = [int(row) for row in answer(smiles, 0.2)]
    if len(set(rows)) != len(rows):
        raise Missed("A row is there twice.")
    inside = np.isin(np.arange(len(smiles)), rows)
    if not inside.any():
        raise Missed("The test split is empty.")
    shared = set(scaffolds[inside]) & set(scaffolds[~inside])
    if shared:
        raise Missed(f"{len(shared)} scaffolds are on both sides: a scaffold goes to one side as a whole.")
    if not 0.15 <= inside.mean() <= 0.25:
        raise Missed(
            f"No scaffold is split, but the test split has {inside.mean():.0%} of the molecules; 20 % were asked for."
        )
    return f"{inside.sum()} of {len(smiles)} molecules, {len(set(scaffolds[inside]))} scaffolds, none on both sides."


def trusted(answer: Sequence[bool]) -> str:
    """01.3: which measured values of logP would you let in?"""
    both = pd.read_csv(data_file("logp_and_logd.csv"))
    kept = np.asarray(answer, dtype=bool)
    if kept.shape != (len(both),):
        raise Missed(f"One True or False for each of the {len(both)} molecules of `both`.")
    if not kept.any():
        raise Missed("Nothing is kept, so nothing is learnt.")
    gap = (both["logp"] - both["logd"])[kept]
    return (
        f"You keep {kept.sum()} molecules, {both.loc[kept, 'ionisable'].sum()} of them ionisable; their logP is off by "
        f"{gap.abs().median():.2f} in the median and {gap.abs().max():.1f} at worst. Could you have applied your rule "
        f"to a molecule whose logD is unknown?"
    )


def head_size(answer: float, model: torch.nn.Module) -> None:
    """02.1: the parameters of the regression head."""
    head = sum(p.numel() for p in model.get_submodule("classifier").parameters())
    everything = sum(p.numel() for p in model.parameters())
    require_close(
        answer, head, 0.5,
        {
            "The weights are right; the bias is missing.": head - 1,
            "That is the whole model. The head is fit.model.classifier.": everything,
            "That is the encoder without the head.": everything - head,
        },
    )  # fmt: skip


def pooling(answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """02.2: the mean of the token vectors [B, L, D] where the mask [B, L] is 1."""
    require_callable(answer, "pool")
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, 7, 5, generator=generator)
    mask = (torch.arange(7) < torch.tensor([[7], [4], [2]])).long()
    inside = vectors * mask[..., None]
    pooled = answer(vectors.clone(), mask.clone()).detach()
    require_close(
        pooled, inside.sum(1) / mask.sum(1, keepdim=True), 1e-5,
        {
            "Padding takes part: the longest molecule is right, the shorter ones are not.": vectors.mean(1),
            "Padding is zero now, but the sum is still divided by the padded length.": inside.mean(1),
            "That is the sum; a long molecule would get a long vector.": inside.sum(1),
            "That is the first token alone.": vectors[:, 0],
        },
    )  # fmt: skip


def worst_group(answer: Callable[[str], bool], test: pd.DataFrame, predictions: np.ndarray) -> str:
    """02.3: a rule that tells from the SMILES where the model errs more."""
    require_callable(answer, "suspicious")
    marked = np.array([bool(answer(s)) for s in test["smiles"]])
    if marked.all() or not marked.any():
        raise Missed("The rule must mark some of the test molecules, and leave others.")
    errors = np.asarray(predictions) - test["label"].to_numpy()
    inside, outside = (np.sqrt((errors[rows] ** 2).mean()) for rows in (marked, ~marked))
    return (
        f"RMSE {inside:.2f} logD for the {marked.sum()} molecules that you mark, {outside:.2f} for the other "
        f"{(~marked).sum()}. You looked at the test molecules to find the rule: on which would you confirm it?"
    )


def masked_tokens(answer: float) -> None:
    """03.1: how many <mask> a molecule of 40 tokens gets."""
    require_close(
        answer, 40 * 0.15 * 0.8, 0.01,
        {
            "So many are chosen, but a fifth of them does not become <mask>.": 6,
            "80 % is the share of the chosen tokens, not of all.": 32,
            "That is the share of the other fates: 10 % random and 10 % kept.": 1.2,
        },
    )  # fmt: skip


def masking(answer: Callable[[torch.Tensor, int, int], tuple[torch.Tensor, torch.Tensor]]) -> None:
    """03.2: inputs and labels of masked-language modelling from tokens [n]; labels are -100 where nothing is asked."""
    require_callable(answer, "mask_tokens")
    vocabulary, mask = 2362, 2361
    tokens = torch.randint(5, vocabulary - 1, (200_000,), generator=torch.Generator().manual_seed(0))
    inputs, labels = answer(tokens.clone(), mask, vocabulary)
    asked = labels != -100
    if asked.all():
        raise Missed("Every token has a label: where nothing is hidden it must be -100, or the loss counts it.")
    if not torch.equal(labels[asked], tokens[asked]):
        raise Missed("The label of a chosen token is the true token, whatever stands in the input.")
    if not torch.equal(inputs[~asked], tokens[~asked]):
        raise Missed("A token that was not chosen has changed.")
    hidden, kept = (inputs[asked] == mask), (inputs[asked] == tokens[asked])
    shares = [asked.float().mean(), hidden.float().mean(), kept.float().mean()]
    if abs(float(shares[0]) - 0.15) > 0.01:
        raise Missed(f"{float(shares[0]):.1%} of the tokens are chosen; it should be 15 %.")
    if float(shares[1]) > 0.99:
        raise Missed("All chosen tokens become <mask>; a tenth should be random and a tenth should stay.")
    if abs(float(shares[1]) - 0.8) > 0.02 or abs(float(shares[2]) - 0.1) > 0.02:
        raise Missed(
            f"Of the chosen, {float(shares[1]):.0%} are masked and {float(shares[2]):.0%} stay, not 80 and 10."
        )


def frozen_knowledge(answer: dict[str, float]) -> str:
    """03.3: what frozen vectors know: property -> R² on the validation molecules."""
    if not isinstance(answer, dict) or not answer:
        raise Missed("A dictionary: the name of a property -> R² on the validation molecules.")
    if max(answer.values()) > 1:
        raise Missed("An R² above 1 cannot be: 1 - sum of squared errors / sum of squared deviations.")
    ordered = sorted(answer.items(), key=lambda pair: -pair[1])
    said = ", ".join(f"{name} {value:.2f}" for name, value in ordered)
    return f"R²: {said}. A high one says that a linear read-out finds it; a low one does not say that it is not there."


EXERCISES = {
    "01.1": Exercise(remaining, ("70 % of 4,200 first, then 90 % of that.", "0.9 * (0.7 * 4200).")),
    "01.2": Exercise(
        scaffold_test,
        (
            "Group the rows by MurckoScaffoldSmiles(smiles), then hand out whole groups.",
            "A dictionary scaffold -> rows; go through the groups from the smallest on, until a fifth is reached.",
        ),
    ),
    "01.3": Exercise(
        trusted,
        ("`both` has the columns smiles, logp, logd, ionisable, groups.", "Neutral molecules: ~both['ionisable']."),
        open=True,
    ),
    "02.1": Exercise(
        head_size,
        ("A linear layer on the pooled vector has a weight for each dimension, and a bias.", "fit.model.classifier"),
    ),
    "02.2": Exercise(
        pooling,
        (
            "Multiply by the mask before you sum, and divide by the number of true tokens.",
            "(vectors * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).",
        ),
    ),
    "02.3": Exercise(
        worst_group,
        ("The function takes a SMILES and returns True or False.", 'For instance: lambda smiles: "+" in smiles.'),
        open=True,
    ),
    "03.1": Exercise(masked_tokens, ("15 % are chosen.", "80 % of the chosen become <mask>: 40 * 0.15 * 0.8.")),
    "03.2": Exercise(
        masking,
        (
            "chosen = torch.rand(len(tokens)) < 0.15, and a second random number decides each one's fate.",
            "labels = where(chosen, tokens, -100); fate below 0.8: mask; below 0.9: torch.randint(vocabulary, ...).",
        ),
    ),
    "03.3": Exercise(
        frozen_knowledge,
        ("R² of a ridge regression on embed(encoder, smiles).", "descriptors in molft_utils.data have the properties."),
        open=True,
    ),
}

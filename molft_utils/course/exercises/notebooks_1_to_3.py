"""Exercises of notebooks 1 to 3: splitting, fine-tuning, masked-language modelling."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from ...files import data_file
from .checking import Missed, exercise, require_close


@exercise("01.1", "a number of molecules", "70 % of 4,200 first, then 90 % of that.", "0.9 * (0.7 * 4200).")
def remaining(answer: float) -> None:
    """4,200 molecules, cut 70/30, then 90/10."""
    mistakes = {
        "that is the result of the first cut; the validation split still has to be taken from it.": 0.7 * 4200,
        "the second cut takes a tenth of what is left, not a tenth of all.": 0.6 * 4200,
        "that is the split of this notebook, 80/20 first.": 3024,
    }
    require_close(answer, 0.7 * 0.9 * 4200, 0.5, mistakes)


@exercise(
    "01.2", "the function scaffold_test, not called",
    "Group the rows by MurckoScaffoldSmiles(smiles), then assign whole groups.",
    "A dictionary scaffold -> rows; take the groups from the smallest to the largest until a fifth is reached.",
)  # fmt: skip
def scaffold_test(answer: Callable[[Sequence[str], float], Sequence[int]]) -> str:
    """A function of SMILES and a share that returns the rows of a test split which shares no scaffold."""
    smiles = pd.read_csv(data_file("lipophilicity.csv"))["smiles"].head(600).tolist()
    scaffolds = np.array([MurckoScaffoldSmiles(s) for s in smiles])
    rows = [int(row) for row in answer(smiles, 0.2)]
    if len(set(rows)) != len(rows):
        raise Missed("a row appears twice.")
    inside = np.isin(np.arange(len(smiles)), rows)
    if not inside.any():
        raise Missed("the test split is empty.")
    shared = set(scaffolds[inside]) & set(scaffolds[~inside])
    if shared:
        raise Missed(f"{len(shared)} scaffolds are on both sides; all molecules of a scaffold must go to one side.")
    if not 0.15 <= inside.mean() <= 0.25:
        raise Missed(f"no scaffold is split, but the test split has {inside.mean():.0%} of the molecules, not 20 %.")
    return f"{inside.sum()} of {len(smiles)} molecules, {len(set(scaffolds[inside]))} scaffolds, none on both sides."


@exercise(
    "01.3", "True or False for each of the 192 molecules of `both`",
    "`both` has the columns smiles, logp, logd, ionisable, groups.",
    "Neutral molecules: ~both['ionisable'].", is_open=True,
)  # fmt: skip
def usable_logp(answer: Sequence[bool]) -> str:
    """Which measured values of logP would you use as logD?"""
    both = pd.read_csv(data_file("logp_and_logd.csv"))
    kept = np.asarray(answer, dtype=bool)
    if kept.shape != (len(both),):
        raise Missed(f"expected True or False for each of the {len(both)} molecules of `both`.")
    if not kept.any():
        raise Missed("you keep no molecule, so a model has nothing to learn from.")
    error = (both["logp"] - both["logd"])[kept].abs()
    return (
        f"You keep {kept.sum()} molecules; {both.loc[kept, 'ionisable'].sum()} of them are ionisable. Their logP and "
        f"logD differ by {error.median():.2f} (median) and by at most {error.max():.1f}. Could you have applied your "
        f"rule to a molecule whose logD is unknown?"
    )


@exercise(
    "02.1", "a number of parameters",
    "A linear layer on the pooled vector has one weight per dimension, and a bias.",
    "fit.model.classifier is the head.",
)  # fmt: skip
def head_size(answer: float, model: torch.nn.Module) -> None:
    """The parameters of the regression head."""
    head = sum(p.numel() for p in model.get_submodule("classifier").parameters())
    everything = sum(p.numel() for p in model.parameters())
    mistakes = {
        "the weights are right; the bias is missing.": head - 1,
        "that is the whole model. The head is fit.model.classifier.": everything,
        "that is the encoder without the head.": everything - head,
    }
    require_close(answer, head, 0.5, mistakes)


@exercise(
    "02.2", "the function pool, not called",
    "Multiply by the mask before you sum, and divide by the number of true tokens.",
    "(vectors * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).",
)  # fmt: skip
def pooling(answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """The mean of the token vectors [B, L, D] over the positions where the mask [B, L] is 1."""
    vectors = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < torch.tensor([[7], [4], [2]])).long()
    inside = vectors * mask[..., None]
    mistakes = {
        "padding is included: the longest molecule is right, the shorter ones are not.": vectors.mean(1),
        "padding is zero now, but the sum is still divided by the padded length.": inside.mean(1),
        "that is the sum; a long molecule would get a long vector.": inside.sum(1),
        "that is the first token alone.": vectors[:, 0],
    }
    pooled = answer(vectors.clone(), mask.clone()).detach()
    require_close(pooled, inside.sum(1) / mask.sum(1, keepdim=True), 1e-5, mistakes)


@exercise(
    "02.3", "the function suspicious, not called",
    "The function takes a SMILES and returns True or False.",
    'For instance: lambda smiles: "+" in smiles.', is_open=True,
)  # fmt: skip
def worst_group(answer: Callable[[str], bool], test: pd.DataFrame, predictions: np.ndarray) -> str:
    """A rule that predicts from the SMILES where the model makes larger errors."""
    chosen = np.array([bool(answer(s)) for s in test["smiles"]])
    if chosen.all() or not chosen.any():
        raise Missed("the rule must choose some of the molecules, but not all.")
    errors = np.asarray(predictions) - test["label"].to_numpy()
    inside, outside = (np.sqrt((errors[rows] ** 2).mean()) for rows in (chosen, ~chosen))
    return (
        f"RMSE {inside:.2f} for the {chosen.sum()} molecules that you chose, {outside:.2f} for the other "
        f"{(~chosen).sum()}. If these molecules helped you to find the rule, on which others could you confirm it?"
    )


@exercise("03.1", "a number of tokens", "15 % are chosen.", "80 % of the chosen become <mask>: 40 * 0.15 * 0.8.")
def masked_tokens(answer: float) -> None:
    """How many <mask> a molecule of 40 tokens gets."""
    mistakes = {
        "so many are chosen, but a fifth of them does not become <mask>.": 6,
        "80 % is the share of the chosen tokens, not of all.": 32,
        "that is how many are replaced at random (10 %) or kept (10 %).": 1.2,
    }
    require_close(answer, 40 * 0.15 * 0.8, 0.01, mistakes)


@exercise(
    "03.2", "the function mask_tokens, not called",
    "chosen = torch.rand(len(tokens)) < 0.15; a second random number decides what becomes of each.",
    "labels = where(chosen, tokens, -100); second number below 0.8: mask; below 0.9: torch.randint(vocabulary, ...).",
)  # fmt: skip
def masking(answer: Callable[[torch.Tensor, int, int], tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Inputs and labels of masked-language modelling from tokens [n]; labels are -100 where a token was not chosen."""
    vocabulary, mask = 2362, 2361
    tokens = torch.randint(5, vocabulary - 1, (200_000,), generator=torch.Generator().manual_seed(0))
    inputs, labels = answer(tokens.clone(), mask, vocabulary)
    chosen = labels != -100
    if chosen.all():
        raise Missed("every token has a label; the label of a token that was not chosen must be -100.")
    if not torch.equal(labels[chosen], tokens[chosen]):
        raise Missed("the label of a chosen token must be the true token, whatever the input is.")
    if not torch.equal(inputs[~chosen], tokens[~chosen]):
        raise Missed("a token that was not chosen has changed.")
    share, hidden, kept = (
        float(part.float().mean()) for part in (chosen, inputs[chosen] == mask, inputs[chosen] == tokens[chosen])
    )
    if abs(share - 0.15) > 0.01:
        raise Missed(f"{share:.1%} of the tokens are chosen; it should be 15 %.")
    if hidden > 0.99:
        raise Missed("all chosen tokens become <mask>; a tenth should be random and a tenth should stay.")
    if abs(hidden - 0.8) > 0.02 or abs(kept - 0.1) > 0.02:
        raise Missed(f"{hidden:.0%} of the chosen tokens are masked and {kept:.0%} stay, not 80 % and 10 %.")


@exercise(
    "03.3", "a dictionary: name of a property -> R² on the validation molecules",
    "R² of a ridge regression on embed(encoder, smiles).",
    "Take logD first; rdkit.Chem.Descriptors computes other properties, for instance MolLogP.", is_open=True,
)  # fmt: skip
def frozen_knowledge(answer: Mapping[str, float]) -> str:
    """What frozen vectors know: property -> R²."""
    if not isinstance(answer, dict) or not answer:
        raise Missed("expected a dictionary: name of a property -> R² on the validation molecules.")
    if max(answer.values()) > 1:
        raise Missed("an R² cannot be above 1: it is 1 - sum of squared errors / sum of squared deviations.")
    found = ", ".join(f"{name} {value:.2f}" for name, value in sorted(answer.items(), key=lambda pair: -pair[1]))
    return f"R²: {found}. A high one shows that a linear model finds the property; a low one does not show its absence."

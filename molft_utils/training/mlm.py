"""Masked-language modelling (Devlin et al. 2019): hide tokens, predict them, count how often the model is right."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import DataError
from ..molformer import MAX_TOKENS, load_tokenizer
from ..settings import Settings
from .batches import cut_ids, length_batches
from .inference import evaluating
from .trainer import Fit, Plan, run_trainer

#: Share of the tokens that are predicted; 80 % of these become <mask>, 10 % a random token, and 10 % stay.
MASKED_SHARE = 0.15


def pretrain_mlm(
    model: PreTrainedModel,
    smiles: Sequence[str],
    settings: Settings,
    validation: Sequence[str] | None = None,
    output_dir: str | Path | None = None,
) -> Fit:
    """Continue the pretraining of a masked-language model on SMILES; it is changed in place.

    Parameters
    ----------
    validation
        SMILES that are masked once, so that their loss can be compared between epochs. Without them the model after the
        last epoch is kept, and the history has no validation loss.
    output_dir
        As for :func:`finetune`, which raises the same errors.
    """
    if not len(smiles):
        raise DataError("no SMILES to train on")
    validation = [] if validation is None else validation
    # Training molecules are masked by the collator, in each epoch at other places; validation molecules once, here.
    train_set = [{"input_ids": ids} for ids in cut_ids(smiles, settings.canonical, settings.max_tokens)]
    validation_set = masked_examples(validation, settings.canonical, settings.max_tokens) or None

    made_from = {name: getattr(settings, name) for name in ("canonical", "max_tokens")}
    for name, part in (("training", smiles), ("validation", validation)):
        made_from[name] = hashlib.sha256("\n".join(part).encode()).hexdigest()
    plan = Plan(
        "masked-language modelling", settings.mlm_learning_rate, settings.mlm_batch_size, settings.mlm_epochs, made_from
    )
    return run_trainer(model, train_set, validation_set, mlm_collator(load_tokenizer()), plan, settings, output_dir)


def mlm_collator(
    tokenizer: PreTrainedTokenizerBase, masked_share: float = MASKED_SHARE
) -> Callable[[list[dict]], dict]:
    """Pad to the longest of the batch; mask molecules that come without labels, leave masked ones as they are."""
    mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=masked_share)
    ready = DataCollatorForTokenClassification(tokenizer)
    return lambda items: ready(items) if "labels" in items[0] else mask(items)


def masked_examples(
    smiles: Sequence[str], canonical: bool = False, max_tokens: int = MAX_TOKENS, seed: int = 0
) -> list[dict]:
    """Mask each SMILES once, with a generator of its own: ``input_ids`` and ``labels`` (-100 where not masked)."""
    mask = DataCollatorForLanguageModeling(load_tokenizer(), mlm_probability=MASKED_SHARE)
    # What its own argument does from transformers 5.23 on; in 5.15 the seed 0 counts as none.
    mask.generator = torch.Generator().manual_seed(seed)
    examples = []
    for ids in cut_ids(smiles, canonical, max_tokens):
        batch = mask([{"input_ids": ids}])
        examples.append({"input_ids": batch["input_ids"][0].tolist(), "labels": batch["labels"][0].tolist()})
    return examples


@dataclasses.dataclass(frozen=True)
class MaskedScores:
    """Cross entropy in nats per masked token, share of masked tokens predicted right, and their number."""

    loss: float
    accuracy: float
    n: int

    def __str__(self) -> str:
        return f"masked-token loss {self.loss:.3f} nats, accuracy {self.accuracy:.3f}, {self.n:,} masked tokens"


@torch.inference_mode()
def masked_scores(model: PreTrainedModel, smiles: Sequence[str], seed: int = 0, batch_size: int = 64) -> MaskedScores:
    """Mask 15 % of the tokens of each SMILES (the same ones for the same seed) and score the predictions.

    Pass SMILES in the form that the model knows: the checkpoints here were pretrained on canonical ones.
    """
    if not len(smiles):
        raise DataError("there are no SMILES; give at least one")
    examples = masked_examples(smiles, seed=seed)
    collate = mlm_collator(load_tokenizer())
    loss, right, n = 0.0, 0, 0
    with evaluating(model):
        for batch in length_batches([e["input_ids"] for e in examples], batch_size):
            inputs = {name: value.to(model.device) for name, value in collate([examples[i] for i in batch]).items()}
            labels = inputs.pop("labels")
            masked = labels != -100
            logits = model(**inputs).logits[masked].float()  # [masked tokens, vocabulary]
            loss += float(nn.functional.cross_entropy(logits, labels[masked], reduction="sum"))
            right += int((logits.argmax(-1) == labels[masked]).sum())
            n += int(masked.sum())
    if not n:
        raise DataError(f"none of the tokens of {len(smiles)} SMILES was masked; give more SMILES or another seed")
    return MaskedScores(loss / n, right / n, n)


@torch.inference_mode()
def fill_mask(model: PreTrainedModel, smiles: str, position: int, k: int = 5) -> pd.DataFrame:
    """Hide one token of a SMILES and list the model's k likeliest guesses: ``token``, ``probability`` and ``right``.

    ``position`` is the token's place, counted from 0, <bos> not counted.
    """
    tokenizer = load_tokenizer()
    ids = torch.tensor(cut_ids([smiles], False, MAX_TOKENS), device=model.device)
    if not 0 <= position < ids.shape[1] - 2:
        raise DataError(f"{smiles} has {ids.shape[1] - 2} tokens, counted from 0; there is no token {position}")
    truth = int(ids[0, position + 1])
    ids[0, position + 1] = tokenizer.mask_token_id
    with evaluating(model):
        probabilities = model(ids).logits[0, position + 1].float().softmax(-1)
    top = probabilities.topk(k)
    return pd.DataFrame(
        {
            "token": tokenizer.convert_ids_to_tokens(top.indices.tolist()),
            "probability": top.values.cpu().numpy().round(3),
            "right": [i == truth for i in top.indices.tolist()],
        }
    )

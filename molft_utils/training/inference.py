"""From SMILES to predictions, and to the pooled vectors beneath them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from peft import PeftModel
from transformers import DataCollatorWithPadding, PreTrainedModel

from ..data import randomised
from ..molformer import load_tokenizer, tokenise
from .batches import length_batches, model_tokens


@torch.inference_mode()
def predict(
    model: PreTrainedModel, smiles: Sequence[str], batch_size: int = 64, n_random: int | None = None
) -> np.ndarray:
    """Predict labels in their own unit (logD), in eval mode and full precision.

    A model remembers in its configuration whether it was trained on canonical SMILES and how many random SMILES of
    a molecule it averages over; ``n_random`` overrides the latter.

    Returns
    -------
    np.ndarray [n], float64.
    """
    config = model.config
    n_random = getattr(config, "n_random", 0) if n_random is None else n_random
    forms = [model_tokens(model, smiles)]
    forms += [
        tokenise([randomised(s, seed) for s in smiles], getattr(config, "max_tokens", 128)) for seed in range(n_random)
    ]
    predictions = [_in_batches(model, ids, batch_size, lambda **batch: model(**batch).logits) for ids in forms]
    return np.mean(predictions, axis=0).squeeze(-1)


@torch.inference_mode()
def embed(model: PreTrainedModel, smiles: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """Pooled vectors [n, d] (float64) as the model's head sees them, in eval mode."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    ids = model_tokens(base, smiles)
    return _in_batches(model, ids, batch_size, lambda **batch: base.molformer(**batch).pooler_output)


def _in_batches(model: PreTrainedModel, ids: list[list[int]], batch_size: int, compute: Callable) -> np.ndarray:
    """What ``compute`` makes of each molecule [n, ...], float64, in the order of ``ids``, in eval mode."""
    pad, was_training = DataCollatorWithPadding(load_tokenizer()), model.training
    model.eval()
    order, rows = [], []
    for batch in length_batches(ids, batch_size):
        inputs = pad([{"input_ids": ids[i]} for i in batch]).to(model.device)
        rows.append(compute(**inputs).double().cpu().numpy())
        order.append(batch)
    model.train(was_training)
    return np.concatenate(rows)[np.argsort(np.concatenate(order))]

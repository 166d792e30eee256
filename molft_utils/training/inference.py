"""From SMILES to predictions, to the pooled vectors below them, and to attention weights."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import DataError
from ..molformer import MolformerForSequenceClassification, attention_weights, load_tokenizer
from .batches import length_batches, model_tokens, pad


@torch.inference_mode()
def predict(model: PreTrainedModel | PeftModel, smiles: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """Predict labels in their own unit (logD), in eval mode and full precision.

    The regression model, plain or wrapped by peft, remembers in its configuration whether it was trained on canonical
    SMILES, and how many tokens it sees.

    Returns
    -------
    np.ndarray [n], float64.

    Raises
    ------
    DataError
        If the model is no regression model, there are no SMILES, or it cannot read one.
    """
    kind = type(_unwrapped(model))
    if not issubclass(kind, MolformerForSequenceClassification) or model.config.num_labels != 1:
        raise DataError(
            f"a {kind.__name__} with {model.config.num_labels} labels predicts no logD; "
            "load the model with task='regression' and fine-tune it"
        )
    return _in_batches(model, smiles, batch_size, lambda **batch: model(**batch).logits.squeeze(-1))


@torch.inference_mode()
def embed(model: PreTrainedModel | PeftModel, smiles: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """Pooled vectors as a regression head sees them, in eval mode: np.ndarray [n, d], float64.

    The model is an encoder, a masked-language model or a regression model, plain or wrapped by peft.
    """
    encoder = _unwrapped(model).base_model  # an encoder's is the encoder itself
    return _in_batches(model, smiles, batch_size, lambda **batch: encoder(**batch).pooler_output)


def _in_batches(
    model: PreTrainedModel | PeftModel, smiles: Sequence[str], batch_size: int, compute: Callable[..., Tensor]
) -> np.ndarray:
    """What ``compute`` makes of each molecule [n, ...], float64, in the order of ``smiles``, in eval mode."""
    ids = model_tokens(model, smiles)
    if not ids:
        raise DataError("there are no SMILES; give at least one")
    order, rows = [], []
    with evaluating(model):
        for batch in length_batches(ids, batch_size):
            padded = pad([{"input_ids": ids[i]} for i in batch])
            inputs = {name: value.to(model.device) for name, value in padded.items()}
            rows.append(compute(**inputs).cpu().double().numpy())  # in this order: Apple's GPUs have no float64
            order.append(batch)
    return np.concatenate(rows)[np.argsort(np.concatenate(order))]


@torch.inference_mode()
def attention(model: PreTrainedModel, smiles: str, layer: int = -1) -> tuple[list[str], np.ndarray]:
    """Attention weights of a molecule's tokens in a layer, averaged over heads.

    Parameters
    ----------
    model
        An encoder, a masked-language model or a regression model, in eval mode.
    layer
        Number of the encoder layer; -1 is the last.

    Returns
    -------
    tokens : list of str
        ``<bos>`` and ``<eos>`` included.
    weights : np.ndarray [tokens, tokens]
        Row i holds the weights of token i as a query; a row sums to 1.
    """
    encoder = _unwrapped(model).base_model
    module = encoder.get_submodule("encoder.layer")[layer].attention.self  # type: ignore[index, union-attr]
    seen: dict[str, Any] = {}
    ids = model_tokens(model, [smiles])[0]
    # The forward pass of linear attention never forms the weights: keep its arguments, and form them afterwards.
    hook = module.register_forward_pre_hook(lambda _, args: seen.update(hidden=args[0], rotary=args[2]))
    try:
        encoder(input_ids=torch.tensor([ids], device=model.device))
    finally:
        hook.remove()
    weights = attention_weights(module, seen["hidden"], seen["rotary"])
    return list(load_tokenizer().convert_ids_to_tokens(ids)), weights[0].mean(dim=0).cpu().numpy()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for a while; afterwards each of its modules is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training


def _unwrapped(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model

"""Sizes and switches of a MoLFormer."""

from typing import Any

from transformers.configuration_utils import PreTrainedConfig


class MolformerConfig(PreTrainedConfig):
    """Sizes and switches of a MoLFormer; the defaults are the published checkpoint's.

    The parameters that are not listed here have their usual meaning in transformers.

    Parameters
    ----------
    num_random_features : int
        F, the number of columns of Omega.
    deterministic_eval : bool
        Keep Omega fixed in eval mode. The default is True, so that a prediction can be repeated; the published
        configuration says False.
    redraw_in_training : bool
        Draw a new Omega at every forward pass in training, as published. If False, Omega is a constant of the model.
    classifier_head : {"published", "linear"}
        "published": two residual layers and a projection; "linear": the projection alone.
    label_mean, label_std : float
        Mean and standard deviation of the training labels. The regression head learns standardised labels; the
        model's ``logits`` are in the labels' own unit.
    canonical_smiles : bool
        Whether the model was trained on canonical SMILES; predictions are then made from canonical SMILES too.
    max_tokens : int
        Largest number of tokens, <bos> and <eos> included; longer SMILES are cut, as in training.
    """

    model_type = "molformer"

    def __init__(
        self,
        vocab_size: int = 2362,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 768,
        hidden_act: str = "gelu",
        hidden_dropout_prob: float = 0.1,
        embedding_dropout_prob: float = 0.2,
        max_position_embeddings: int = 202,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12,
        linear_attention_eps: float = 1e-6,
        num_random_features: int = 32,
        feature_map_kernel: str = "relu",
        deterministic_eval: bool = True,
        redraw_in_training: bool = True,
        classifier_head: str = "published",
        classifier_dropout_prob: float | None = None,
        classifier_skip_connection: bool = True,
        label_mean: float = 0.0,
        label_std: float = 1.0,
        canonical_smiles: bool = False,
        max_tokens: int = 128,
        pad_token_id: int = 2,
        bos_token_id: int = 0,
        eos_token_id: int = 1,
        tie_word_embeddings: bool = False,
        **kwargs,
    ):
        if hidden_size % (2 * num_attention_heads):
            raise ValueError(
                f"hidden_size {hidden_size} is not an even multiple of num_attention_heads {num_attention_heads}"
            )
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.embedding_dropout_prob = embedding_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.linear_attention_eps = linear_attention_eps
        self.num_random_features = num_random_features
        self.feature_map_kernel = feature_map_kernel
        self.deterministic_eval = deterministic_eval
        self.redraw_in_training = redraw_in_training
        self.classifier_head = classifier_head
        self.classifier_dropout_prob = classifier_dropout_prob
        self.classifier_skip_connection = classifier_skip_connection
        self.label_mean = label_mean
        self.label_std = label_std
        self.canonical_smiles = canonical_smiles
        self.max_tokens = max_tokens
        # As a dictionary: the library accepts these, but its type hints do not name them.
        tokens: dict[str, Any] = {
            "pad_token_id": pad_token_id,
            "bos_token_id": bos_token_id,
            "eos_token_id": eos_token_id,
            "tie_word_embeddings": tie_word_embeddings,
        }
        super().__init__(**tokens, **kwargs)

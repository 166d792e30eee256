"""Sizes and switches of a MoLFormer."""

from transformers.configuration_utils import PreTrainedConfig


class MolformerConfig(PreTrainedConfig):
    """Sizes and switches of a MoLFormer; the defaults are the published checkpoint's.

    The parameters that are not listed here have their usual meaning in transformers, which makes a dataclass of this.

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

    vocab_size: int = 2362
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 768
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    embedding_dropout_prob: float = 0.2
    max_position_embeddings: int = 202
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    linear_attention_eps: float = 1e-6
    num_random_features: int = 32
    feature_map_kernel: str = "relu"
    deterministic_eval: bool = True
    redraw_in_training: bool = True
    classifier_head: str = "published"
    classifier_dropout_prob: float | None = None
    classifier_skip_connection: bool = True
    label_mean: float = 0.0
    label_std: float = 1.0
    canonical_smiles: bool = False
    max_tokens: int = 128
    pad_token_id: int = 2
    bos_token_id: int = 0
    eos_token_id: int = 1
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} is not an even multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        super().__post_init__(**kwargs)

"""MoLFormer in plain PyTorch, its tokeniser, and its checkpoints."""

from .checkpoints import XL, device, load_model, locate, quiet_transformers
from .configuration_molformer import MolformerConfig
from .linear_attention import FeatureMap, attention_weights
from .modeling_molformer import MolformerForMaskedLM, MolformerForSequenceClassification, MolformerModel
from .tokenization_molformer import MAX_TOKENS, PAD, load_tokenizer, smiles_list, token_lengths, tokenise, unknown_parts

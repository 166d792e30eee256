"""MoLFormer in plain PyTorch: encoder and two heads.

MoLFormer (Ross et al. 2022, arXiv:2106.09553) is a BERT-like encoder of SMILES strings with two changes: rotary
positions, and linear attention (:mod:`molft_utils.molformer.linear_attention`).

The parameters have the names of the published checkpoint ``ibm-research/MoLFormer-XL-both-10pct``, which therefore
loads without any remote code. The classes are registered with the transformers Auto classes.

Shapes: B molecules, L tokens.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, MaskedLMOutput, SequenceClassifierOutput
from transformers.modeling_utils import PreTrainedModel

from .configuration_molformer import MolformerConfig
from .linear_attention import FeatureMap, MolformerSelfAttention, at_least_fp32, random_features, rotary_tables


def chain(**layers: nn.Module) -> nn.Sequential:
    """Layers one after the other, by the names that they have in the published checkpoint."""
    return nn.Sequential(OrderedDict(layers))


class MolformerAddNorm(nn.Module):
    """Projection, dropout, residual, LayerNorm: the second half of both sublayers (post-norm)."""

    def __init__(self, config: MolformerConfig, input_size: int):
        super().__init__()
        self.dense = nn.Linear(input_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(hidden)) + residual)


class MolformerAttention(nn.Module):
    """The attention sublayer, [B, L, hidden] to [B, L, hidden]."""

    def __init__(self, config: MolformerConfig):
        super().__init__()
        self.self = MolformerSelfAttention(config)
        self.output = MolformerAddNorm(config, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        return self.output(self.self(hidden, mask, rotary), hidden)


class MolformerLayer(GradientCheckpointingLayer):
    """Attention, and a feed-forward network of two linear layers, [B, L, hidden] to [B, L, hidden]."""

    def __init__(self, config: MolformerConfig):
        super().__init__()
        self.attention = MolformerAttention(config)
        dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.intermediate = chain(dense=dense, activation=ACT2FN[config.hidden_act])
        self.output = MolformerAddNorm(config, config.intermediate_size)

    def forward(self, hidden: Tensor, mask: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        hidden = self.attention(hidden, mask, rotary)
        return self.output(self.intermediate(hidden), hidden)


class MolformerEmbeddings(nn.Module):
    """Word embeddings without positions, which enter by rotation in the attention."""

    def __init__(self, config: MolformerConfig):
        super().__init__()
        self.word_embeddings: nn.Module = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id
        )
        self.dropout = nn.Dropout(config.embedding_dropout_prob)

    def forward(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        return self.dropout(self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds)


class MolformerEncoder(nn.Module):
    """All layers; returns the embeddings and the output of every layer.

    Padding has no derivatives. No token ever sees it, so no gradient changes; but where all biases are zero, as before
    any training, its variance is zero too, and derivatives through one LayerNorm after another would overflow: zero
    times infinity in forward mode, and in second derivatives.
    """

    def __init__(self, config: MolformerConfig):
        super().__init__()
        self.layer = nn.ModuleList(MolformerLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, hidden: Tensor, mask: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        states: tuple[Tensor, ...] = (hidden,)
        is_token = mask.unsqueeze(-1) > 0
        for layer in self.layer:
            output = layer(states[-1], mask, rotary)
            states += (torch.where(is_token, output, output.detach()),)
        return states


class MolformerPreTrainedModel(PreTrainedModel):
    config_class = MolformerConfig
    base_model_prefix = "molformer"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # losses are means over the batch, so the Trainer itself must scale them
    _no_split_modules = ["MolformerLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # Linear and Embedding N(0, 0.02), biases and the pad row 0, LayerNorm 1 and 0
        if isinstance(module, FeatureMap):
            init.copy_(module.weight, random_features(module.d, module.n_features, module.weight.device))


class MolformerModel(MolformerPreTrainedModel):
    """The encoder. ``pooler_output`` is the mean of the last hidden states over the unmasked tokens."""

    def __init__(self, config: MolformerConfig):
        super().__init__(config)
        self.embeddings = MolformerEmbeddings(config)
        self.encoder = MolformerEncoder(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """Encode token ids [B, L]; ``attention_mask`` [B, L] is 1 at tokens and 0 at padding.

        Returns
        -------
        BaseModelOutputWithPooling
            ``last_hidden_state`` [B, L, hidden], ``pooler_output`` [B, hidden]; with ``output_hidden_states`` also the
            embeddings and every layer's output, the last one before the final LayerNorm, as published.
        """
        hidden = self.embeddings(input_ids, inputs_embeds)
        if attention_mask is None:
            attention_mask = torch.ones(hidden.shape[:2], device=hidden.device)
        d = self.config.hidden_size // self.config.num_attention_heads
        rotary = rotary_tables(hidden.shape[1], d, hidden.device)
        states = self.encoder(hidden, attention_mask.to(hidden.dtype), rotary)
        last = self.LayerNorm(states[-1])
        return BaseModelOutputWithPooling(
            last_hidden_state=last,
            pooler_output=masked_mean(last, attention_mask),
            hidden_states=states if output_hidden_states else None,
        )


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean of hidden [B, L, D] over the tokens where mask [B, L] is 1, summed in at least fp32."""
    precise = at_least_fp32(hidden)
    mask = mask.to(precise.dtype).unsqueeze(-1)
    mean = (precise * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
    return mean.to(hidden.dtype)


def language_model_head(config: MolformerConfig) -> nn.Sequential:
    """Scores of all tokens, [..., hidden] to [..., vocab]."""
    transform = chain(
        dense=nn.Linear(config.hidden_size, config.hidden_size),
        activation=ACT2FN[config.hidden_act],
        LayerNorm=nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
    )
    return chain(transform=transform, decoder=nn.Linear(config.hidden_size, config.vocab_size, bias=False))


class MolformerForMaskedLM(MolformerPreTrainedModel):
    """Encoder with a language-model head over the vocabulary (untied, no bias)."""

    def __init__(self, config: MolformerConfig):
        super().__init__(config)
        self.molformer = MolformerModel(config)
        self.lm_head = language_model_head(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head.get_submodule("decoder")

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head.decoder = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs,
    ) -> MaskedLMOutput:
        """Predict tokens; labels [B, L] hold the true ids at masked positions and -100 elsewhere.

        In training mode with labels, the head runs only at the labelled positions, about an eighth of all, and
        ``logits`` is [n_labelled, vocab]; otherwise it is [B, L, vocab]. Further inputs are the encoder's.
        """
        output = self.molformer(input_ids, attention_mask, **inputs)
        return self.predicted(output, labels)

    def predicted(self, encoded: BaseModelOutputWithPooling, labels: Tensor | None) -> MaskedLMOutput:
        """What the head makes of the encoder's output; labels as in :meth:`forward`."""
        hidden = encoded.last_hidden_state
        assert hidden is not None  # the encoder always gives it
        if self.training and labels is not None:
            labelled = labels != -100
            hidden, labels = hidden[labelled], labels[labelled]
        logits = self.lm_head(hidden)
        loss = None
        if labels is not None:
            total = nn.functional.cross_entropy(at_least_fp32(logits).flatten(0, -2), labels.flatten(), reduction="sum")
            loss = total / (labels != -100).sum().clamp(min=1)  # a short batch may have no masked token
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=encoded.hidden_states)


class MolformerHead(nn.Module):
    """The published head: two residual layers and a projection. With ``classifier_head="linear"``, the projection."""

    def __init__(self, config: MolformerConfig):
        super().__init__()
        dropout = config.classifier_dropout_prob
        self.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)
        self.skip = config.classifier_skip_connection
        self.residual = config.classifier_head == "published"
        if self.residual:
            self.dense = nn.Linear(config.hidden_size, config.hidden_size)
            self.dense2 = nn.Linear(config.hidden_size, config.hidden_size)
            self.activation = ACT2FN[config.hidden_act]
        assert config.num_labels is not None  # transformers gives it a default
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pooled: Tensor) -> Tensor:
        for dense in (self.dense, self.dense2) if self.residual else ():
            hidden = self.activation(self.dropout(dense(pooled)))
            pooled = hidden + pooled if self.skip else hidden
        return self.out_proj(pooled)


class MolformerForSequenceClassification(MolformerPreTrainedModel):
    """Encoder with a head on the masked mean. With one label it is a regression, whose loss is the squared error."""

    def __init__(self, config: MolformerConfig):
        super().__init__(config)
        if config.classifier_head not in ("published", "linear"):
            raise ValueError(f"classifier_head is {config.classifier_head!r}; choose 'published' or 'linear'")
        self.molformer = MolformerModel(config)
        self.classifier = MolformerHead(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs,
    ) -> SequenceClassifierOutput:
        """Predict labels [B] (or [B, num_labels]) from token ids [B, L].

        ``logits`` [B, num_labels] are in the labels' unit; a regression's ``loss`` is the mean squared error of the
        *standardised* labels: the squared error in the labels' unit, divided by ``label_std`` squared. Further
        inputs are the encoder's.
        """
        output = self.molformer(input_ids, attention_mask, **inputs)
        mean, std = self.config.label_mean, self.config.label_std
        logits = at_least_fp32(self.classifier(output.pooler_output)) * std + mean
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
            loss = loss / std**2
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)


AutoConfig.register("molformer", MolformerConfig, exist_ok=True)
AutoModel.register(MolformerConfig, MolformerModel, exist_ok=True)
AutoModelForMaskedLM.register(MolformerConfig, MolformerForMaskedLM, exist_ok=True)
AutoModelForSequenceClassification.register(MolformerConfig, MolformerForSequenceClassification, exist_ok=True)

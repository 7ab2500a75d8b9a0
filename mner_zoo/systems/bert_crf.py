"""BERT, BERT-CRF and RoBERTa-CRF: a pretrained text encoder with a softmax on each word, or a CRF over them."""

import torch

from modeling_iqcr.backbones import FreezableBackbones, build_backbone
from modeling_iqcr.outputs import TaggerOutput

from ..base import ZooConfig, ZooForTokenClassification


class BertCRFConfig(ZooConfig):
    """The text encoder; ``use_crf=False`` is the softmax tagger of the tables, called "BERT".

    Args:
        kwargs: Fields of `ZooConfig`.
    """

    model_type = "bert_crf"

    def __init__(self, **kwargs):  # written out, since transformers would make another one of a class without
        super().__init__(**kwargs)


class BertBody(FreezableBackbones):
    """States of a text by a pretrained encoder.

    Args:
        config: The configuration.
    """

    def __init__(self, config: BertCRFConfig):
        super().__init__()
        self.text_model = build_backbone(config.text_config)
        self.output_size = config.hidden_size

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Encode sub-tokens, ``(B, T)``, to states ``(B, T, D)``."""
        return self.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


class BertCRFForTokenClassification(ZooForTokenClassification):
    """A text encoder with a linear layer and a CRF over the words.

    Args:
        config: The configuration.

    Source:
        Devlin et al., BERT, NAACL 2019, Section 5.3, for the softmax; the CRF as in Souza et al., Portuguese Named
        Entity Recognition using BERT-CRF, 2019.
    """

    config_class = BertCRFConfig
    body_class = BertBody

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        word_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        return_predictions: bool = False,
    ) -> TaggerOutput:
        """Tag the words of a batch of posts.

        Args:
            input_ids: Sub-token ids, ``(B, T)``.
            attention_mask: 1 for a real sub-token, ``(B, T)``; ``None``: all are.
            word_mask: ``True`` on the first sub-token of each word, ``(B, T)``; ``None``: where `labels` are.
            labels: Tag ids on first sub-tokens, -100 elsewhere, ``(B, T)``.
            num_items_in_batch: Labelled words to divide the loss by, for ``loss_normalization="words"``.
            return_predictions: Decode in training as well.

        Returns:
            Loss, logits ``(B, T, C)`` and predictions ``(B, T)``.

        Raises:
            ValueError: If labels or mask are not one per sub-token.
        """
        states = self.model(input_ids, attention_mask)  # (B, T, D)
        logits = self.classifier(self.dropout(states))
        return self.tag(logits, word_mask, labels, num_items_in_batch, return_predictions)

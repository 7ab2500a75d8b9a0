"""BiLSTM-CRF, CNN-BiLSTM-CRF and HBiLSTM-CRF: word vectors, what the letters say, a bidirectional LSTM and a CRF."""

import torch

from modeling_iqcr.backbones import FreezableBackbones, build_backbone
from modeling_iqcr.outputs import TaggerOutput

from ..base import ZooConfig, ZooForTokenClassification


class LSTMCRFConfig(ZooConfig):
    """The text encoder, whose `char_encoder` tells the three systems apart: ``none``, ``cnn`` or ``lstm``.

    Args:
        dropout: Probability, on the LSTM's output.
        kwargs: Fields of `ZooConfig`.
    """

    model_type = "lstm_crf"
    default_text_type = "lstm_text"
    reads_words = True

    def __init__(self, dropout: float = 0.5, **kwargs):
        super().__init__(dropout=dropout, **kwargs)


class LSTMBody(FreezableBackbones):
    """States of a text's words by an LSTM.

    Args:
        config: The configuration.
    """

    def __init__(self, config: LSTMCRFConfig):
        super().__init__()
        self.text_model = build_backbone(config.text_config)
        self.output_size = config.hidden_size

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, char_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """Encode words, ``(B, W)``, to states ``(B, W, D)``."""
        return self.text_model(input_ids=input_ids, attention_mask=attention_mask, char_ids=char_ids).last_hidden_state


class LSTMCRFForTokenClassification(ZooForTokenClassification):
    """A bidirectional LSTM over words, a linear layer and a CRF; T = W, each word being one token.

    Args:
        config: The configuration.

    Source:
        Huang et al., arXiv 1508.01991, 2015 (BiLSTM-CRF); Ma and Hovy, ACL 2016 (CNN-BiLSTM-CRF); Lample et al.,
        NAACL 2016 (HBiLSTM-CRF).
    """

    config_class = LSTMCRFConfig
    body_class = LSTMBody
    supports_gradient_checkpointing = False

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        word_mask: torch.Tensor | None = None,
        char_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        return_predictions: bool = False,
    ) -> TaggerOutput:
        """Tag the words of a batch of posts.

        Args:
            input_ids: Word ids, ``(B, W)``.
            attention_mask: 1 for a real word, ``(B, W)``; ``None``: all are.
            word_mask: ``True`` on the words to tag, ``(B, W)``; ``None``: where `labels` are.
            char_ids: Characters of each word, 0 behind its end, ``(B, W, K)``; for a character encoder alone.
            labels: Tag ids, -100 on padding, ``(B, W)``.
            num_items_in_batch: Labelled words to divide the loss by, for ``loss_normalization="words"``.
            return_predictions: Decode in training as well.

        Returns:
            Loss, logits ``(B, W, C)`` and predictions ``(B, W)``.

        Raises:
            ValueError: If labels or mask are not one per sub-token.
        """
        states = self.model(input_ids, attention_mask, char_ids)  # (B, W, D)
        logits = self.classifier(self.dropout(states))
        return self.tag(logits, word_mask, labels, num_items_in_batch, return_predictions)

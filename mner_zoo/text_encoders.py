"""A text backbone for systems from before BERT: word vectors, what the letters say, and a bidirectional LSTM."""

import math

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

from .layers.bidirectional_lstm import BidirectionalLSTM, initialize_lstm
from .layers.character_features import CharacterCNN, CharacterLSTM

CHAR_ENCODERS = ("none", "cnn", "lstm")


class LstmTextConfig(PreTrainedConfig):
    """Everything that decides what the LSTM computes.

    Args:
        vocab_size: Words, padding and the unknown word included.
        hidden_size: Width of the states, both directions together; an even number.
        word_embedding_size: Width of a word vector.
        char_encoder: What reads the letters: ``"none"``, ``"cnn"`` or ``"lstm"``.
        char_vocab_size: Characters, padding and the unknown character included.
        char_embedding_size: Width of a character's embedding.
        char_hidden_size: Width of each direction of the characters' LSTM.
        char_cnn_widths: Characters that the filters of the CNN see, one entry per kind of filter.
        char_cnn_filters: Filters of each kind.
        char_dense_sizes: Widths of linear layers behind the CNN's pooling.
        dropout: Probability, on the LSTM's input and on the CNN's characters. That of its output is the tagger's.
        tanh_projection: Lample's layer between LSTM and CRF, ``tanh(W h)``.
        singleton_ids: First id, and the one behind the last, of the words that were seen once in training.
        singleton_dropout: Probability that such a word is the unknown word in training, so that this one is trained.
        pad_token_id: Id of padding.
        unk_token_id: Id of the unknown word.
        kwargs: What every configuration of transformers takes.

    Raises:
        ValueError: If a value is out of range.

    Source:
        Huang et al., arXiv 1508.01991 (no letters); Ma and Hovy, ACL 2016 (CNN); Lample et al., NAACL 2016 (LSTM).
    """

    model_type = "lstm_text"

    def __init__(
        self,
        vocab_size: int = 2,
        hidden_size: int = 200,
        word_embedding_size: int = 100,
        char_encoder: str = "none",
        char_vocab_size: int = 2,
        char_embedding_size: int = 25,
        char_hidden_size: int = 25,
        char_cnn_widths: list[int] | None = None,
        char_cnn_filters: int = 30,
        char_dense_sizes: list[int] | None = None,
        dropout: float = 0.5,
        tanh_projection: bool = False,
        singleton_ids: list[int] | None = None,
        singleton_dropout: float = 0.5,
        pad_token_id: int = 0,
        unk_token_id: int = 1,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.word_embedding_size = word_embedding_size
        self.char_encoder = char_encoder
        self.char_vocab_size = char_vocab_size
        self.char_embedding_size = char_embedding_size
        self.char_hidden_size = char_hidden_size
        self.char_cnn_widths = [3] if char_cnn_widths is None else list(char_cnn_widths)
        self.char_cnn_filters = char_cnn_filters
        self.char_dense_sizes = list(char_dense_sizes or ())
        self.dropout = dropout
        self.tanh_projection = tanh_projection
        self.singleton_ids = [0, 0] if singleton_ids is None else list(singleton_ids)
        self.singleton_dropout = singleton_dropout
        self.pad_token_id = pad_token_id
        self.unk_token_id = unk_token_id
        self._check_values()
        super().__init__(**kwargs)

    def _check_values(self) -> None:
        """Refuse what would fail later without saying why."""
        if self.char_encoder not in CHAR_ENCODERS:
            raise ValueError(f"`char_encoder` must be one of {', '.join(CHAR_ENCODERS)}, got {self.char_encoder!r}.")
        sizes = {
            "vocab_size": [self.vocab_size],
            "hidden_size": [self.hidden_size],
            "word_embedding_size": [self.word_embedding_size],
            "char_vocab_size": [self.char_vocab_size],
            "char_embedding_size": [self.char_embedding_size],
            "char_hidden_size": [self.char_hidden_size],
            "char_cnn_widths": self.char_cnn_widths or [0],
            "char_cnn_filters": [self.char_cnn_filters],
            "char_dense_sizes": self.char_dense_sizes,
        }
        for name, values in sizes.items():
            if any(not isinstance(value, int) or isinstance(value, bool) or value < 1 for value in values):
                raise ValueError(f"`{name}` must be at least 1, a whole number, got {getattr(self, name)!r}.")
        if self.hidden_size % 2:
            raise ValueError(f"`hidden_size` {self.hidden_size} is odd: it is shared by the LSTM's two directions.")
        for name in ("dropout", "singleton_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must lie in [0, 1], got {getattr(self, name)}.")
        if len(self.singleton_ids) != 2 or not 0 <= self.singleton_ids[0] <= self.singleton_ids[1] <= self.vocab_size:
            raise ValueError(
                f"`singleton_ids` must be the first id and the one behind the last, of {self.vocab_size} words, got "
                f"{self.singleton_ids}."
            )


class LstmTextModel(PreTrainedModel):
    """One state per word (T = W): ``h = BiLSTM(dropout(E[w] + letters))``, ``+`` a concatenation.

    Args:
        config: The configuration.
    """

    config_class = LstmTextConfig
    base_model_prefix = "lstm_text"
    main_input_name = "input_ids"

    def __init__(self, config: LstmTextConfig):
        super().__init__(config)
        self.word_embeddings = nn.Embedding(
            config.vocab_size, config.word_embedding_size, padding_idx=config.pad_token_id
        )
        self.character_features = None
        if config.char_encoder == "cnn":
            self.character_features = CharacterCNN(
                config.char_vocab_size,
                config.char_embedding_size,
                config.char_cnn_widths,
                config.char_cnn_filters,
                config.char_dense_sizes,
                config.dropout,
            )
        elif config.char_encoder == "lstm":
            self.character_features = CharacterLSTM(
                config.char_vocab_size, config.char_embedding_size, config.char_hidden_size
            )
        char_size = 0 if self.character_features is None else self.character_features.output_size
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = BidirectionalLSTM(config.word_embedding_size + char_size, config.hidden_size // 2)
        self.projection = nn.Linear(config.hidden_size, config.hidden_size) if config.tanh_projection else None
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Fresh weights as Ma and Hovy have them."""
        if isinstance(module, nn.Embedding):
            bound = math.sqrt(3 / module.embedding_dim)
            values = torch.empty_like(module.weight).uniform_(-bound, bound)
            values[module.padding_idx] = 0
            init.copy_(module.weight, values)
        elif isinstance(module, nn.LSTM):
            initialize_lstm(module)
        elif isinstance(module, nn.Linear | nn.Conv1d):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        """The word vectors."""
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word vectors."""
        self.word_embeddings = value

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        char_ids: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple:
        """Read a batch of posts.

        Args:
            input_ids: Word ids, left-aligned, ``(B, W)``.
            attention_mask: 1 for a real word, ``(B, W)``; ``None``: all are.
            char_ids: Characters of each word, 0 behind its end, ``(B, W, K)``; read by a character encoder alone.
            output_hidden_states: Return the LSTM's input as well.
            output_attentions: Taken as every backbone takes it; there is no attention.
            return_dict: ``False`` for a tuple.

        Returns:
            ``last_hidden_state``, 0 on padding, ``(B, W, D)``; and, where asked for, ``hidden_states``: the LSTM's
            input and the states.

        Raises:
            ValueError: If the letters are missing, or belong to other words.
        """
        config = self.config
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return_dict = config.return_dict if return_dict is None else return_dict
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        features = self.word_embeddings(self._forget_singletons(input_ids))  # (B, W, E)
        if self.character_features is not None:
            if char_ids is None or char_ids.shape[:2] != input_ids.shape:
                found = None if char_ids is None else tuple(char_ids.shape)
                raise ValueError(
                    f"`char_encoder` {config.char_encoder!r} reads letters: `char_ids` must be (posts, words, "
                    f"characters) for {tuple(input_ids.shape)} words, got {found}. `WordLevelProcessor` makes them."
                )
            features = torch.cat([features, self.character_features(char_ids)], dim=-1)
        features = self.dropout(features)
        states, _ = self.lstm(features, attention_mask.sum(dim=1))  # (B, W, D)
        if self.projection is not None:
            states = self.projection(states).tanh() * attention_mask[..., None]
        output = BaseModelOutput(
            last_hidden_state=states, hidden_states=(features, states) if output_hidden_states else None
        )
        return output if return_dict else output.to_tuple()

    def _forget_singletons(self, input_ids: torch.Tensor) -> torch.Tensor:
        """In training, some of the words that were seen once become the unknown word."""
        first, end = self.config.singleton_ids
        if not self.training or first == end:
            return input_ids
        is_singleton = (input_ids >= first) & (input_ids < end)
        forgotten = torch.rand(input_ids.shape, device=input_ids.device) < self.config.singleton_dropout
        return input_ids.masked_fill(is_singleton & forgotten, self.config.unk_token_id)


AutoConfig.register(LstmTextConfig.model_type, LstmTextConfig)
AutoModel.register(LstmTextConfig, LstmTextModel)

"""Tiny forms of all systems, and posts for them: what every test of the zoo runs on."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from transformers import PROCESSOR_MAPPING, BertModel, PreTrainedModel, ResNetConfig, ResNetModel, ViTModel

from mner_training.word_vocabulary import make_word_level
from mner_zoo import SYSTEMS, WordLevelProcessor
from modeling_iqcr import IQCRForTokenClassification

# Fields that make the tables' rows of one class; a class that is not named here is tested as it comes.
VARIANTS: dict[str, list[tuple[str, dict[str, Any], dict[str, Any]]]] = {
    # model_type: (name in the tables, fields of the configuration, fields of the word encoder)
    "bert_crf": [("BERT", {"use_crf": False, "loss_normalization": "words"}, {}), ("BERT-CRF", {}, {})],
    "lstm_crf": [
        ("BiLSTM-CRF", {}, {"char_encoder": "none"}),
        ("CNN-BiLSTM-CRF", {}, {"char_encoder": "cnn"}),
        ("HBiLSTM-CRF", {}, {"char_encoder": "lstm"}),
    ],
    "umt": [("UMT", {"max_images": 1}, {}), ("UMT-MI", {}, {}), ("UMT-MI, slots", {"slot_embedding": True}, {})],
    "tpm_mi": [("TPM-MI", {}, {}), ("TPM-MI, positions after", {"positions_after_prefix": True}, {})],
    "iqcr": [
        ("IQCR-MI", {}, {}),
        ("w/o IQW", {"use_quality": False}, {}),
        ("w/o CMW", {"use_relevance": False}, {}),
        ("w/o both", {"use_quality": False, "use_relevance": False, "use_gate": False}, {}),
        ("IQCR-MI, text only", {"use_images": False}, {}),
    ],
}
# Systems for which the order of a post's images means something.
ORDER_SENSITIVE = {"TPM-MI", "TPM-MI, positions after", "UMT-MI, slots"}
# Regions come from a convolutional encoder whose batch statistics would drift if it were not kept in eval().
CONVOLUTIONAL = {"umt"}


class Case(NamedTuple):
    """One system.

    Attributes:
        name: As in the tables.
        model_class: Its class.
        fields: Of its configuration.
        word_encoder: Fields of the LSTM, for a system that reads words.
    """

    name: str
    model_class: type[PreTrainedModel]
    fields: dict[str, Any]
    word_encoder: dict[str, Any]

    @property
    def config_class(self) -> type:
        return self.model_class.config_class

    @property
    def reads_words(self) -> bool:
        return getattr(self.config_class, "reads_words", False)

    @property
    def uses_images(self) -> bool:
        return self.fields.get("use_images", getattr(self.config_class, "use_images", True))

    @property
    def is_convolutional(self) -> bool:
        return self.config_class.model_type in CONVOLUTIONAL


def all_cases() -> list[Case]:
    """Every registered system, in all its forms."""
    cases = []
    for model_class in (*SYSTEMS, IQCRForTokenClassification):
        model_type = model_class.config_class.model_type
        for name, fields, word_encoder in VARIANTS.get(model_type, [(model_type, {}, {})]):
            cases.append(Case(name, model_class, fields, word_encoder))
    return cases


class Tiny(NamedTuple):
    """A tiny system.

    Attributes:
        model: It, in ``eval()``.
        processor: Its processor.
    """

    model: PreTrainedModel
    processor: Any

    def batch(self, posts: list[dict], packed: bool = False, length: int = 0, num_images: int = 0) -> dict:
        """The tensors that the system reads.

        Args:
            posts: Each with ``words``, and, where wanted, ``images``, ``quality_scores``, ``relevance_scores`` and
                ``word_labels``.
            packed: Pictures as in training.
            length: Pad to this many sub-tokens; not of packed pictures, as is the next.
            num_images: Pad to this many slots for pictures.
        """
        rows = [row for index, post in enumerate(posts) for row in self.processor.encode_post(**post, index=index)]
        # A post that is left out again makes the batch as long as is asked for.
        filler = self.processor.encode_post(words=["washington"] * length)[:1] if length else []
        batch = dict(self.processor.pad(rows + filler, with_images=True, packed=packed))
        batch = {
            name: tensor if packed and name == "pixel_values" else tensor[: len(rows)]
            for name, tensor in batch.items()
        }
        if packed:
            batch["pixel_values"] = self.processor.normalize_pixels(batch["pixel_values"])
        missing = num_images - batch["image_mask"].shape[1]
        if missing > 0:
            for name, value in {
                "image_mask": False,
                "quality_scores": torch.nan,
                "relevance_scores": torch.nan,
            }.items():
                if name in batch:
                    batch[name] = torch.nn.functional.pad(batch[name], (0, missing), value=value)
            if not packed:
                pixels = batch["pixel_values"]
                filler = torch.rand(len(rows), missing, *pixels.shape[2:])  # nothing that stands there may matter
                batch["pixel_values"] = torch.cat([pixels, filler], dim=1)
        wanted = inspect.signature(self.model.forward).parameters
        return {name: tensor for name, tensor in batch.items() if name in wanted}


def make_tiny(case: Case, processor, backbone_configs: Callable, train_words: list[list[str]], seed: int = 0) -> Tiny:
    """A system on tiny backbones with random weights, started as a run starts one.

    Args:
        case: The system.
        processor: An `IQCRProcessor` for the backbones.
        backbone_configs: Makes the configurations of a text and a vision backbone.
        train_words: The words of the training posts, for systems that read words.
        seed: Of the weights.
    """
    torch.manual_seed(seed)
    text_config, vision_config = backbone_configs()
    fields = {"max_images": 4} | case.fields
    if case.reads_words:
        sizes = {"hidden_size": 32, "word_embedding_size": 16, "char_embedding_size": 8, "char_hidden_size": 6}
        words = make_word_level(train_words, "random", sizes | case.word_encoder)
        text = words.text_model
        processor = WordLevelProcessor(
            processor.image_processor,
            words.tokenizer,
            characters=words.characters,
            max_length=processor.max_length,
            window_overlap=processor.window_overlap,
            max_images=fields["max_images"],
        )
    else:
        text = BertModel(text_config, add_pooling_layer=False)
        processor_class = PROCESSOR_MAPPING[case.config_class]
        processor = processor_class(
            processor.image_processor,
            processor.tokenizer,
            **{name: getattr(processor, name) for name in processor.settings} | {"max_images": fields["max_images"]},
        )
    vision = None
    if case.uses_images:
        vision = ViTModel(vision_config, add_pooling_layer=False)
        if case.is_convolutional:
            # 2 x 2 regions of a picture of 16 x 16
            vision = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1]))
    return Tiny(case.model_class.from_backbones(text, vision, **fields), processor)

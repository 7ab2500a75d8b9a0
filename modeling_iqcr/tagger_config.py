"""What the configuration of every tagger has, whatever reads the post: the tag set, decoding, and checks of values."""

import math
import os
import re
from collections.abc import Iterable, Mapping

from transformers import CONFIG_MAPPING, PreTrainedConfig

PAPER_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC")
_REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class TaggerConfig(PreTrainedConfig):
    """The tag set, and how it is decoded.

    Args:
        max_images: Images per post; the processor keeps the first ones of a post that has more.
        use_crf: ``False`` replaces the CRF by a softmax on each word.
        dropout: Probability, at least before the classifier.
        constrain_decoding: Forbid illegal BIO steps in decoding; the likelihood stays free. ``None``: if the labels
            are in BIO form, each I- label with its B- label. A model refuses ``True`` for other labels.
        confidence_temperature: Divides all scores where the probability of an entity is asked for, above 0; fitted on
            validation data by ``scripts/calibrate.py``. Changes no tag and no loss.
        initializer_range: Standard deviation of fresh weights.
        id2label: Tag names by class id. Default: the nine BIO tags of the paper, unless `num_labels` is given.
        label2id: Class ids by tag name; derived from `id2label` if left out.
        kwargs: What every configuration of transformers takes.
    """

    # Backbones are the configuration's parts; a subclass says which of them it has.
    text_config = None
    vision_config = None

    def __init__(
        self,
        max_images: int = 4,
        use_crf: bool = True,
        dropout: float = 0.1,
        constrain_decoding: bool | None = None,
        confidence_temperature: float = 1.0,
        initializer_range: float = 0.02,
        id2label: dict[int, str] | None = None,
        label2id: dict[str, int] | None = None,
        **kwargs,
    ):
        self.max_images = max_images
        self.use_crf = use_crf
        self.dropout = dropout
        # Not decided here: who loads a checkpoint for other labels sets them after this.
        self.constrain_decoding = constrain_decoding
        self.confidence_temperature = confidence_temperature
        self.initializer_range = initializer_range
        if id2label is None and "num_labels" not in kwargs:
            id2label = dict(enumerate(PAPER_LABELS))
        if id2label is not None:
            id2label = {int(key): value for key, value in id2label.items()}
            label2id = label2id or {label: index for index, label in id2label.items()}
        super().__init__(id2label=id2label, label2id=label2id, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """Save the configuration.

        Args:
            save_directory: The folder, made if it is not there.
            push_to_hub: Upload it as well.
            kwargs: What every configuration of transformers takes.
        """
        for backbone in (self.text_config, self.vision_config):
            # A backbone's repository is worth knowing; its folder on this machine is nobody else's business.
            if backbone is not None and not (
                _REPOSITORY.fullmatch(backbone.name_or_path) and not os.path.isdir(backbone.name_or_path)
            ):
                backbone.name_or_path = ""
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    @property
    def hidden_size(self) -> int:
        """Width D of the text states."""
        return self.text_config.hidden_size

    @property
    def vision_hidden_size(self) -> int:
        """Width of the vision backbone's last states; a convolutional one names a width for each of its stages."""
        config = self.vision_config
        if not hasattr(config, "hidden_size") and not hasattr(config, "hidden_sizes"):
            raise ValueError(
                f"A vision backbone of type {config.model_type!r} has no width. If it has a text tower too, pass its "
                "vision tower alone."
            )
        return config.hidden_size if hasattr(config, "hidden_size") else config.hidden_sizes[-1]

    @property
    def labels(self) -> list[str]:
        """Tag names in the order of their class ids."""
        return [self.id2label[index] for index in range(len(self.id2label))]

    @property
    def has_bio_labels(self) -> bool:
        """Whether every label is ``O``, ``B-<type>`` or ``I-<type>``."""
        return all(label == "O" or (label[:2] in ("B-", "I-") and len(label) > 2) for label in self.labels)

    def check_fields(self) -> None:
        """Refuse what would fail later without saying why, or never fail and be wrong.

        Every model asks again, because `from_pretrained` sets the fields that it is given after construction.

        Raises:
            ValueError: If a value is out of range, or the labels are not one to one.
        """
        self.check_switches(["use_crf"])
        if not isinstance(self.constrain_decoding, bool | None):
            raise ValueError(f"`constrain_decoding` must be true, false or null, got {self.constrain_decoding!r}.")
        self.check_ranges({"max_images": (1, math.inf), "dropout": (0, 1), "confidence_temperature": (1e-3, 1e3)})
        _check_labels(self.id2label, self.label2id)

    def check_switches(self, names: Iterable[str]) -> None:
        """Refuse a field among `names` that is neither true nor false."""
        for name in names:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"`{name}` must be true or false, got {getattr(self, name)!r}.")

    def check_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Refuse a field that is no number in its range, both ends included.

        Args:
            ranges: Lowest and highest value by the field's name; a whole lowest one without a highest means a count.
        """
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            is_count = isinstance(low, int) and high == math.inf
            if not is_number or not low <= value <= high or (is_count and not isinstance(value, int)):
                wanted = f"a whole number, at least {low}" if is_count else f"a finite number from {low} to {high}"
                raise ValueError(f"`{name}` must be {wanted}, got {value!r}.")


def to_config(config: dict | PreTrainedConfig | None, default: str) -> PreTrainedConfig:
    """A backbone's configuration out of what a file, a caller or nobody gave.

    Args:
        config: An object, its fields, or nothing.
        default: The type of one that names none.

    Returns:
        The object.

    Raises:
        ValueError: If it is something else, or of a type that transformers does not know.
    """
    if isinstance(config, PreTrainedConfig):
        return config
    if not isinstance(config, dict | None):
        raise ValueError(
            f"A backbone's configuration must be an object or a dict, got {config!r}. To load a backbone by its name, "
            "use the model's `from_backbones`."
        )
    config = dict(config or {})
    model_type = config.pop("model_type", default)
    if model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"Transformers knows no model type {model_type!r}. Check `model_type` in the backbone's config."
        )
    return CONFIG_MAPPING[model_type](**config)


def _check_labels(id2label: dict[int, str], label2id: dict[str, int]) -> None:
    """Refuse ids or names that are not one to one, and two tables that disagree."""
    if sorted(id2label) != list(range(len(id2label))):
        raise ValueError(f"`id2label` must number its labels from 0 without a gap, got the ids {sorted(id2label)}.")
    inverse = {label: index for index, label in id2label.items()}
    if len(inverse) != len(id2label):
        raise ValueError(f"`id2label` names a label twice: {sorted(id2label.values())}.")
    if label2id != inverse:
        raise ValueError(f"`label2id` {label2id} is not the inverse of `id2label` {id2label}. Give both.")

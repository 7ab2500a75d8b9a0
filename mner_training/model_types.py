"""The types of taggers that a recipe may name, as the Auto classes know them."""

import inspect
from typing import Any

from transformers import CONFIG_MAPPING, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, PreTrainedModel

from mner_zoo import SYSTEMS
from modeling_iqcr import IQCRForTokenClassification
from modeling_iqcr.tagger_config import TaggerConfig

IQCR = IQCRForTokenClassification.config_class.model_type
# Those of this package. Others are found as well, once their own package has registered them.
MODEL_TYPES = (IQCR, *(system.config_class.model_type for system in SYSTEMS))
# What a run may not set in a model's configuration: the backbones and the data decide it.
_DERIVED_FIELDS = {"self", "text_config", "vision_config", "id2label", "label2id", "kwargs"}


def tagger_config_class(model_type: str) -> type[TaggerConfig]:
    """The configuration's class of a type of tagger.

    Args:
        model_type: Such as ``iqcr`` or ``umt``.

    Raises:
        ValueError: If no tagger of that type is registered.
    """
    # its `get` passes over types that are registered
    config_class = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else None  # noqa: SIM401
    if config_class is None or not issubclass(config_class, TaggerConfig):
        raise ValueError(f"`model_type` {model_type!r} is no tagger of this package: {', '.join(MODEL_TYPES)}.")
    return config_class


def tagger_class(model_type: str) -> type[PreTrainedModel]:
    """The class of a type of tagger; its ``from_backbones`` begins a new one."""
    return MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[tagger_config_class(model_type)]


def config_fields(config_class: type[TaggerConfig]) -> dict[str, Any]:
    """The fields of a configuration that a run may set, each with its default.

    Args:
        config_class: The configuration's class; the arguments of its parents are fields too.
    """
    fields = {}
    for parent in reversed(config_class.__mro__):
        if issubclass(parent, TaggerConfig) and "__init__" in vars(parent):
            fields |= {name: parameter.default for name, parameter in inspect.signature(parent).parameters.items()}
    return {name: default for name, default in fields.items() if name not in _DERIVED_FIELDS}


def check_config_fields(config_class: type[TaggerConfig], fields: dict[str, Any]) -> None:
    """Refuse fields that a configuration does not have: transformers would keep them, and nobody read them.

    Raises:
        ValueError: If there are any.
    """
    known = config_fields(config_class)
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ValueError(
            f"`model_config`: unknown {', '.join(unknown)}. {config_class.__name__} has {', '.join(sorted(known))}."
        )

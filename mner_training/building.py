"""A tagger and its processor, from pretrained backbones or from a checkpoint."""

import importlib.util
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    PROCESSOR_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForTokenClassification,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    ViTImageProcessorPil,
)

from mner_training.arguments import NO_SCORER
from mner_training.model_types import check_config_fields, config_fields, tagger_class, tagger_config_class
from mner_training.word_vocabulary import WordLevel, make_word_level
from modeling_iqcr.tagger_config import TaggerConfig
from processing_iqcr import IQCRProcessor
from processing_iqcr.scorers import SCORER_KINDS, without_description
from processing_iqcr.word_tokenization import keeps_word_starts

PACKAGE_PREFIX = "package:"


def resolve_backbone(name: str) -> str:
    """The folder of a backbone that travels in a Python package (``package:NAME/FOLDER``), or the name itself.

    Raises:
        ValueError: If the package is not installed or has no such folder.
    """
    if not name.startswith(PACKAGE_PREFIX):
        return name
    package, _, folder = name.removeprefix(PACKAGE_PREFIX).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        cure = f"pip install {package.replace('_', '-')}"
        raise ValueError(f"Backbone {name!r}: no package {package!r} is installed. `{cure}`.")
    path = Path(spec.submodule_search_locations[0], *folder.split("/"))
    if ".." in folder.split("/") or not path.is_dir():
        raise ValueError(f"Backbone {name!r}: the package {package!r} has no folder {folder!r}.")
    return str(path)


def load_tokenizer(name: str, revision: str | None = None):
    """A tokenizer that reads a word on its own as it reads it inside a text."""
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    if not keeps_word_starts(tokenizer):
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, add_prefix_space=True)
    return tokenizer


def build_words(args, train_posts: Dataset | None) -> WordLevel | None:
    """What a system that reads whole words has in place of a pretrained text encoder, from the training posts.

    Args:
        args: `ModelArguments`.
        train_posts: The training split; ``None`` if the run does not train.

    Returns:
        Tokenizer, alphabet and text encoder; ``None`` if the arguments name no `word_vectors`.

    Raises:
        ValueError: If there is nothing to train on, or as `make_word_level`.
    """
    if not args.word_vectors:
        return None
    if train_posts is None:
        raise ValueError("A new tagger knows nothing: set `do_train`, or give `model_name_or_path`.")
    return make_word_level(train_posts["tokens"], args.word_vectors, args.word_encoder)


def build_processor(args, scoring=None, words: WordLevel | None = None) -> IQCRProcessor:
    """The processor for the arguments' backbones, or that of a checkpoint with what the arguments change.

    Args:
        args: `ModelArguments`.
        scoring: `ScoringArguments`, whose scorers the processor will name; ``None`` leaves a checkpoint's.
        words: What `build_words` gave.

    Returns:
        The processor.

    Raises:
        ValueError: If `max_length` is more than the text backbone takes.
    """
    asked = {
        "max_length": args.max_length,
        "window_overlap": args.window_overlap,
        "max_images": args.model_config.get("max_images"),
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    for kind in SCORER_KINDS:
        spec = getattr(scoring, kind, None)
        if spec is not None:
            asked[kind] = None if spec == NO_SCORER else spec
    if args.model_name_or_path:
        saved = AutoProcessor.from_pretrained(
            args.model_name_or_path, revision=args.model_revision, trust_remote_code=args.trust_remote_code
        )
        # Named again, a scorer is still the checkpoint's, with the description that it is held to.
        asked = {name: value for name, value in asked.items() if value != _undescribed(getattr(saved, name))}
        fields = {name: getattr(saved, name) for name in saved.settings} | asked
        return type(saved)(saved.image_processor, saved.tokenizer, **fields) if asked else saved
    # A processor cannot be without an image processor; a text-only model gets the default one and never uses it.
    image_processor = (
        AutoImageProcessor.from_pretrained(
            resolve_backbone(args.vision_backbone), revision=args.vision_revision, backend="pil"
        )
        if args.vision_backbone
        else ViTImageProcessorPil()
    )
    processor_class = PROCESSOR_MAPPING[tagger_config_class(args.model_type)]
    if words is not None:
        return processor_class(image_processor, words.tokenizer, characters=words.characters, **asked)
    text = resolve_backbone(args.text_backbone)
    positions = getattr(AutoConfig.from_pretrained(text, revision=args.text_revision), "max_position_embeddings", None)
    if positions is not None and args.max_length > positions:
        raise ValueError(f"`max_length` {args.max_length} is more than the {positions} positions of {text}.")
    return processor_class(image_processor, load_tokenizer(text, args.text_revision), **asked)


def _undescribed(value):
    """A field of a processor; of a scorer its name and options alone."""
    return without_description(value) if isinstance(value, dict) else value


def find_config_class(args) -> type[PreTrainedConfig]:
    """The class of the configuration that a model will have, before there is one.

    Args:
        args: `ModelArguments`.
    """
    if not args.model_name_or_path:
        return tagger_config_class(args.model_type)
    return type(_load_config(args))


def _load_config(args) -> PreTrainedConfig:
    """The configuration of a checkpoint."""
    return AutoConfig.from_pretrained(
        args.model_name_or_path, revision=args.model_revision, trust_remote_code=args.trust_remote_code
    )


def uses(args, switch: str) -> bool:
    """Tell whether a model will have a part, before there is one.

    Args:
        args: `ModelArguments`.
        switch: A field of the configuration: ``use_images``, ``use_quality`` or ``use_relevance``.

    Returns:
        ``False`` only for a model that lacks it by its type, its arguments or its checkpoint's configuration.
    """
    if switch in args.model_config:
        return args.model_config[switch]
    if args.model_name_or_path:
        return getattr(_load_config(args), switch, True)
    if switch == "use_images" and args.vision_backbone is None:
        return False
    config_class = tagger_config_class(args.model_type)
    # of IQCR-MI a field, of other systems a fact
    return config_fields(config_class).get(switch, getattr(config_class, switch, False))


def build_model(args, labels: list[str] | None, means: dict[str, float], words: WordLevel | None = None):
    """The model to train or to evaluate.

    Args:
        args: `ModelArguments`.
        labels: The tag set to train on; ``None`` keeps the checkpoint's, and so does the same set in another order.
        means: Mean scores of the training data, for a configuration that has fields for them.
        words: What `build_words` gave.

    Returns:
        The model. A checkpoint with another tag set keeps its body and gets a fresh classifier and CRF.

    Raises:
        ValueError: If the checkpoint is no tagger that this command can train, it lacks weights that the model needs,
            or there is neither a checkpoint nor a tag set to train on.
    """
    if not args.model_name_or_path:
        if labels is None:
            raise ValueError("A new tagger knows nothing: set `do_train`, or give `model_name_or_path`.")
        vision = args.vision_backbone and resolve_backbone(args.vision_backbone)
        fields = config_fields(tagger_config_class(args.model_type))
        config = {name: mean for name, mean in means.items() if name in fields} | args.model_config
        if "use_images" in fields:
            # a recipe's switch wins over its backbone, so that an ablation is one line
            config["use_images"] = vision is not None and config.get("use_images", True)
            vision = vision if config["use_images"] else None
        return tagger_class(args.model_type).from_backbones(
            words.text_model if words is not None else resolve_backbone(args.text_backbone),
            vision,
            text_revision=args.text_revision,
            vision_revision=args.vision_revision,
            id2label=dict(enumerate(labels)),
            **config,
        )
    source = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    config = _load_config(args)
    if not hasattr(config, "labels"):
        raise ValueError(f"{args.model_name_or_path} is of type {config.model_type!r}, and no tagger of this package.")
    if isinstance(config, TaggerConfig):  # else the code of a checkpoint, which checks its own fields
        check_config_fields(type(config), args.model_config)
        fields = config_fields(type(config))
        means = {name: mean for name, mean in means.items() if name in fields}
    if args.model_config.get("use_images") and not config.use_images:
        raise ValueError(f"{args.model_name_or_path} was trained without images: `use_images` cannot be switched on.")
    # Made anew, so that changed fields are checked together. Mixed precision trains on float32 master weights.
    trained = {} if labels is None else {"confidence_temperature": 1.0}  # that of other weights says nothing of these
    config = type(config).from_dict(config.to_dict() | trained | means | args.model_config)
    try:
        model, report = AutoModelForTokenClassification.from_pretrained(
            args.model_name_or_path, config=config, dtype=torch.float32, output_loading_info=True, **source
        )
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise ValueError(
            f"{args.model_name_or_path}: `model_config` {args.model_config} changes the size of trained weights, such "
            "as those of the places of images. Leave it out, or train anew."
        ) from error
    if report["missing_keys"]:
        some = ", ".join(sorted(report["missing_keys"])[:3])
        raise ValueError(
            f"{args.model_name_or_path} lacks weights that the model asks for ({some}, ...): the checkpoint is not "
            "whole, or `model_config` switches on a part that it was trained without."
        )
    if labels is None or set(labels) == set(config.labels):
        return model
    # Not by sizes that do not match: nine other tags would keep the weights of the nine old ones.
    tag_set = {"id2label": dict(enumerate(labels)), "label2id": None}
    fresh = type(model)(type(config).from_dict(config.to_dict() | tag_set))
    fresh.base_model.load_state_dict(model.base_model.state_dict())
    return fresh.eval()

"""A tagger and its processor, from pretrained backbones or from a checkpoint."""

import importlib.util
from pathlib import Path

from transformers import AutoConfig, AutoImageProcessor, AutoModelForTokenClassification, AutoProcessor, AutoTokenizer

from modeling_iqcr import IQCRForTokenClassification
from processing_iqcr import IQCRProcessor

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
        raise ValueError(f"Backbone {name!r}: no package {package!r} is installed. `pip install {package.replace('_', '-')}`.")
    path = Path(spec.submodule_search_locations[0], *folder.split("/"))
    if ".." in folder.split("/") or not path.is_dir():
        raise ValueError(f"Backbone {name!r}: the package {package!r} has no folder {folder!r}.")
    return str(path)


def load_tokenizer(name: str, revision: str | None = None):
    """A tokenizer that reads a word on its own as it reads it inside a text."""
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    if tokenizer.tokenize("x x") != tokenizer.tokenize("x") * 2:
        # byte-level vocabularies mark a word's start by the space before it
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, add_prefix_space=True)
    return tokenizer


def build_processor(args) -> IQCRProcessor:
    """The processor for the arguments' backbones, or that of a checkpoint.

    Args:
        args: `ModelArguments`.

    Returns:
        The processor.

    Raises:
        ValueError: If `max_length` is more than the text backbone takes.
    """
    if args.model_name_or_path:
        return AutoProcessor.from_pretrained(
            args.model_name_or_path, revision=args.model_revision, trust_remote_code=args.trust_remote_code
        )
    text = resolve_backbone(args.text_backbone)
    positions = getattr(AutoConfig.from_pretrained(text, revision=args.text_revision), "max_position_embeddings", None)
    if positions is not None and args.max_length > positions:
        raise ValueError(f"`max_length` {args.max_length} is more than the {positions} positions of {text}.")
    # A processor cannot be without an image processor; a text-only model gets the default one and never uses it.
    image_processor = (
        AutoImageProcessor.from_pretrained(
            resolve_backbone(args.vision_backbone), revision=args.vision_revision, backend="pil"
        )
        if args.vision_backbone
        else _default_image_processor()
    )
    fields = {"max_images": args.model_config["max_images"]} if "max_images" in args.model_config else {}
    return IQCRProcessor(
        image_processor,
        load_tokenizer(text, args.text_revision),
        max_length=args.max_length,
        window_overlap=args.window_overlap,
        **fields,
    )


def _default_image_processor():
    from transformers import ViTImageProcessorPil

    return ViTImageProcessorPil()


def build_model(args, labels: list[str] | None, means: dict[str, float]):
    """The model to train or to evaluate.

    Args:
        args: `ModelArguments`.
        labels: The tag set to train on; ``None`` keeps the checkpoint's.
        means: Mean scores of the training data, fields of the configuration.

    Returns:
        The model. A checkpoint with another tag set keeps its body and gets a fresh classifier and CRF.

    Raises:
        ValueError: If the checkpoint is no tagger that this command can train.
    """
    if not args.model_name_or_path:
        use_images = args.vision_backbone is not None
        return IQCRForTokenClassification.from_backbones(
            resolve_backbone(args.text_backbone),
            resolve_backbone(args.vision_backbone) if use_images else None,
            text_revision=args.text_revision,
            vision_revision=args.vision_revision,
            **{"use_images": use_images, "id2label": dict(enumerate(labels)), **means, **args.model_config},
        )
    source = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    config = AutoConfig.from_pretrained(args.model_name_or_path, **source, **args.model_config, **means)
    if labels is not None and labels != config.labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        source["ignore_mismatched_sizes"] = True
    return AutoModelForTokenClassification.from_pretrained(args.model_name_or_path, config=config, **source)

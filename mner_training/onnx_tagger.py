"""An exported model under ONNX Runtime: in the place of the PyTorch model, and as a tagger of posts."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from modeling_iqcr import IQCRConfig, LinearChainCRF
from modeling_iqcr.outputs import IQCRTokenClassifierOutput
from modeling_iqcr.pipeline_iqcr import MultimodalNERPipeline
from modeling_iqcr.tagging_head import TaggingHead
from processing_iqcr import IQCRProcessor

MODEL_FILE = "model.onnx"
CRF_FILE = "crf.safetensors"
_FILES = (MODEL_FILE, CRF_FILE, "config.json", "processor_config.json")

# What the graph takes, in this order; a model has those that its configuration uses.
_TEXT_INPUTS = {"input_ids": torch.int64, "attention_mask": torch.int64}
_IMAGE_INPUTS = {"pixel_values": torch.float32, "image_mask": torch.bool}
_SCORE_INPUTS = {"quality_scores": torch.float32, "relevance_scores": torch.float32}


def graph_inputs(config: IQCRConfig) -> dict[str, torch.dtype]:
    """The inputs of a model's graph with their types."""
    if not config.use_images:
        return _TEXT_INPUTS
    used = {"quality_scores": config.use_quality, "relevance_scores": config.use_relevance}
    return _TEXT_INPUTS | _IMAGE_INPUTS | {name: dtype for name, dtype in _SCORE_INPUTS.items() if used[name]}


def graph_outputs(config: IQCRConfig) -> tuple[str, ...]:
    """The outputs of a model's graph."""
    return ("logits", "image_weights", "image_gates") if config.use_images else ("logits",)


class OnnxModel(TaggingHead, nn.Module):
    """The exported model, called and asked like the PyTorch model: emissions by ONNX Runtime, the CRF by PyTorch.

    Args:
        folder: What `export_onnx` wrote.

    Attributes:
        config: The model's configuration.
        crf: Its CRF.
        device: The CPU.
        dtype: float32.

    Raises:
        FileNotFoundError: If the folder holds no exported model.
        ImportError: If ONNX Runtime is not installed.
    """

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, folder: str | Path):
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("Running an exported model needs ONNX Runtime: pip install 'iqcr-mi[onnx]'.") from error
        folder = Path(folder)
        missing = [name for name in _FILES if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{str(folder)!r} is not the folder of an exported model: it has no {missing[0]}. Export one with "
                "scripts/export_onnx.py; one from the Hub has to be downloaded first."
            )
        self.config = IQCRConfig.from_pretrained(folder)
        self.crf = LinearChainCRF(self.config.num_labels, learn_transitions=self.config.use_crf)
        self.crf.load_state_dict(load_file(folder / CRF_FILE))
        self._session = onnxruntime.InferenceSession(folder / MODEL_FILE, providers=["CPUExecutionProvider"])
        self._inputs = graph_inputs(self.config)
        shapes = {graph_input.name: graph_input.shape for graph_input in self._session.get_inputs()}
        self._image_shape = shapes["pixel_values"][2:] if "pixel_values" in self._inputs else None

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        word_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        quality_scores: torch.Tensor | None = None,
        relevance_scores: torch.Tensor | None = None,
    ) -> IQCRTokenClassifierOutput:
        """Tag the words of a batch of posts, as `IQCRForTokenClassification.forward` in ``eval()`` mode.

        Args:
            input_ids: Sub-token ids, ``(B, T)``.
            attention_mask: 1 for a real sub-token, ``(B, T)``; ``None``: all are.
            word_mask: ``True`` on the first sub-token of each word, ``(B, T)``, bool.
            pixel_values: Normalised pixels, ``(B, N, 3, H, W)``, or those of the real images alone,
                ``(R, 3, H, W)``; ``None``: no post has an image.
            image_mask: ``True`` for a real image, ``(B, N)``, bool; ``None``: all are.
            quality_scores: Quality in ``[0, 1]``, NaN for a missing one, ``(B, N)``; ``None`` if all are missing.
            relevance_scores: Relevance in ``[-1, 1]``, likewise.

        Returns:
            ``logits``, with `word_mask` ``predictions``, and with images ``image_weights`` and ``image_gates``.

        Raises:
            ValueError: If the shapes do not fit together.
        """
        given = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids) if attention_mask is None else attention_mask,
        }
        wanted = dict.fromkeys(_TEXT_INPUTS, tuple(input_ids.shape))
        if self.config.use_images:
            num_posts = len(input_ids)
            if pixel_values is None:  # one empty slot for each post
                if image_mask is not None and image_mask.any():
                    raise ValueError("`image_mask` marks images, but there are no `pixel_values`. Pass both, or none.")
                pixel_values = torch.zeros(num_posts, 1, *self._image_shape)
                image_mask = torch.zeros(num_posts, 1, dtype=torch.bool)
            elif pixel_values.dim() == 4 and image_mask is not None and int(image_mask.sum()) == len(pixel_values):
                # the graph is of fixed form, and takes the padding with the rest
                packed, pixel_values = pixel_values, torch.zeros(*image_mask.shape, *pixel_values.shape[1:])
                pixel_values[image_mask] = packed
            slots = (num_posts, pixel_values.shape[1])
            given |= {
                "pixel_values": pixel_values,
                "image_mask": torch.ones(slots, dtype=torch.bool) if image_mask is None else image_mask,
                "quality_scores": torch.full(slots, torch.nan) if quality_scores is None else quality_scores,
                "relevance_scores": torch.full(slots, torch.nan) if relevance_scores is None else relevance_scores,
            }
            wanted |= dict.fromkeys(_SCORE_INPUTS, slots) | {
                "pixel_values": (*slots, *self._image_shape),
                "image_mask": slots,
            }
        for name in self._inputs:
            if tuple(given[name].shape) != wanted[name]:
                raise ValueError(
                    f"`{name}` must have the shape {wanted[name]}, got {tuple(given[name].shape)}. Let IQCRProcessor "
                    "prepare the batch."
                )
        feed = {name: given[name].to(dtype).numpy() for name, dtype in self._inputs.items()}
        names = graph_outputs(self.config)
        outputs = dict(zip(names, map(torch.from_numpy, self._session.run(names, feed)), strict=True))
        predictions = None if word_mask is None else self.decode(outputs["logits"], word_mask)
        return IQCRTokenClassifierOutput(predictions=predictions, **outputs)


class OnnxTagger:
    """Find the entities of posts with an exported model: the ``multimodal-ner`` pipeline on ONNX Runtime.

    Args:
        model: The exported model.
        processor: Its processor.

    Example:
        ```python
        tagger = OnnxTagger.from_pretrained("exported")
        tagger({"text": "Washington wins again", "images": ["capitol.jpg", "stadium.jpg"]})
        ```
    """

    def __init__(self, model: OnnxModel, processor: IQCRProcessor):
        self.model = model
        self.processor = processor
        self._pipeline = MultimodalNERPipeline(model=model, processor=processor, device="cpu")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "OnnxTagger":
        """Load what `export_onnx` wrote; no network is asked, and no code of the folder is run.

        Args:
            folder: The folder.

        Returns:
            The tagger.

        Raises:
            FileNotFoundError: If the folder holds no exported model.
            ImportError: If ONNX Runtime is not installed.
        """
        return cls(OnnxModel(folder), IQCRProcessor.from_pretrained(folder))

    def __call__(self, posts, **kwargs):
        """Find the entities of one post or of many; takes and gives what `MultimodalNERPipeline.__call__` does."""
        return self._pipeline(posts, **kwargs)

    def explain(self, posts, **kwargs):
        """Say which picture decided an entity; takes and gives what `MultimodalNERPipeline.explain` does."""
        return self._pipeline.explain(posts, **kwargs)

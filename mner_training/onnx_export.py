"""A trained model as an ONNX graph of its emissions, in a folder with all that tagging needs, and checked."""

import copy
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from dataset_scripts.dataset_folder import new_dataset_folder
from mner_training.onnx_tagger import CRF_FILE, MODEL_FILE, OnnxModel, graph_inputs, graph_outputs
from modeling_iqcr import IQCRForTokenClassification
from processing_iqcr import IQCRProcessor

# The largest difference of a logit, a weight or a gate between ONNX Runtime and PyTorch that is taken for rounding.
TOLERANCE = 1e-4

# Posts, sub-tokens (at most a full row) and pictures of a batch: of the one that is traced, and of those, with other
# numbers, that the graph is tried on.
_TRACED = (3, 7, 2)
_TRIED = ((1, 3, 1), (2, 11, 4), (7, 5, 3), (4, math.inf, 1))


class _Graph(nn.Module):
    """What is exported: a tagger without its CRF."""

    def __init__(self, model: IQCRForTokenClassification):
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids,
        attention_mask,
        pixel_values=None,
        image_mask=None,
        quality_scores=None,
        relevance_scores=None,
    ) -> tuple[torch.Tensor, ...]:
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            image_mask=image_mask,
            quality_scores=quality_scores,
            relevance_scores=relevance_scores,
            output_hidden_states=False,
            output_attentions=False,
            return_dict=True,
        )
        return tuple(outputs[name] for name in graph_outputs(self.model.config))


def export_onnx(model: PreTrainedModel, processor: IQCRProcessor, folder: str | Path) -> float:
    """Export a model, and compare the graph with it on batches of other shapes than that of the export.

    The graph has float32 weights and takes any number of posts, sub-tokens and pictures. It gives the emissions; the
    CRF is no part of it and lies beside it.

    Args:
        model: The model; it stays as it is.
        processor: Its processor.
        folder: A folder that does not exist yet or is empty: gets ``model.onnx`` with its weights in
            ``model.onnx.data``, ``crf.safetensors``, the configuration and the processor, all or nothing.

    Returns:
        The largest difference between a logit, weight or gate of ONNX Runtime and of PyTorch, at most `TOLERANCE`.

    Raises:
        FileExistsError: If the folder holds anything.
        ImportError: If the packages for it are not installed.
        RuntimeError: If the graph gives other logits or tags than the model.
        ValueError: If the model is no IQCR-MI tagger, or the processor not its processor.
    """
    try:
        import onnxruntime  # noqa: F401 - asked for before the minutes that an export may take
        import onnxscript  # noqa: F401 - what torch.onnx needs
    except ImportError as error:
        raise ImportError("Exporting needs onnx, onnxscript and onnxruntime: pip install 'iqcr-mi[onnx]'.") from error
    if not isinstance(model, IQCRForTokenClassification):
        raise ValueError(
            f"Only IQCRForTokenClassification can be exported, got {type(model).__name__}: run it with PyTorch."
        )
    if not isinstance(processor, IQCRProcessor):
        raise ValueError(
            f"The export needs the model's IQCRProcessor, got {type(processor).__name__}. Save it beside the model."
        )
    # Eager attention, which every backbone has; flash attention has no graph.
    model = copy.deepcopy(model).float().cpu().eval()
    model.set_attn_implementation("eager")
    with new_dataset_folder(folder) as unfinished:
        _write_graph(model, processor, unfinished / MODEL_FILE)
        save_file(model.crf.state_dict(), unfinished / CRF_FILE)
        model.config.save_pretrained(unfinished)
        processor.save_pretrained(unfinished)
        return _compare(model, OnnxModel(unfinished), processor)


@torch.no_grad()
def _write_graph(model: IQCRForTokenClassification, processor: IQCRProcessor, file: Path) -> None:
    """Trace the model and write the graph."""
    inputs = _make_batch(model, processor, *_TRACED)
    dynamic = torch.export.Dim.DYNAMIC
    # Each name once: the others are found to be equal, and to name them as well would be warned of.
    named = {"input_ids": {0: "posts", 1: "sub_tokens"}, "pixel_values": {0: dynamic, 1: "pictures"}}
    axes = {name: named.get(name, {0: dynamic, 1: dynamic}) for name in inputs}
    program = torch.onnx.export(
        _Graph(model).eval(),
        kwargs=inputs,
        input_names=list(inputs),
        output_names=graph_outputs(model.config),
        dynamic_shapes=axes,
        dynamo=True,
        verbose=False,
    )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # the lines of source that it comes from, with the paths of this machine
    program.save(file, external_data=True)


def _make_batch(
    model: IQCRForTokenClassification, processor: IQCRProcessor, num_posts: int, num_sub_tokens: float, num_images: int
) -> dict[str, torch.Tensor]:
    """A random batch for the graph, always the same: texts and pictures of all lengths, scores of which some miss."""
    generator = torch.Generator().manual_seed(0)
    num_sub_tokens = min(num_sub_tokens, processor.max_length)
    lengths = torch.randint(min(3, num_sub_tokens), num_sub_tokens + 1, (num_posts, 1), generator=generator)
    lengths[0] = num_sub_tokens
    attention_mask = torch.arange(num_sub_tokens) < lengths
    vocabulary = model.get_input_embeddings().num_embeddings
    input_ids = torch.randint(vocabulary, attention_mask.shape, generator=generator)
    slots = (num_posts, num_images)
    missing = torch.rand(slots, generator=generator) < 0.3
    batch = {
        "input_ids": input_ids.where(attention_mask, processor.tokenizer.pad_token_id),
        "attention_mask": attention_mask.long(),
        "pixel_values": torch.randn(*slots, *processor.image_shape, generator=generator),
        "image_mask": torch.arange(num_images) < torch.arange(num_posts)[:, None] % (num_images + 1),
        "quality_scores": torch.rand(slots, generator=generator).masked_fill(missing, torch.nan),
        "relevance_scores": torch.rand(slots, generator=generator).masked_fill(missing, torch.nan),
    }
    return {name: batch[name] for name in graph_inputs(model.config)}


@torch.no_grad()
def _compare(model: IQCRForTokenClassification, exported: OnnxModel, processor: IQCRProcessor) -> float:
    """The largest difference between both; an error if it is no rounding, or a tag differs."""
    largest = 0.0
    for shape in _TRIED:
        batch = _make_batch(model, processor, *shape)
        word_mask = batch["attention_mask"].bool()
        expected, actual = model(**batch, word_mask=word_mask), exported(**batch, word_mask=word_mask)
        for name in graph_outputs(model.config):
            difference = (expected[name] - actual[name]).abs().max().item()
            if not difference <= TOLERANCE:  # NaN is not
                raise RuntimeError(
                    f"The graph was not kept, for it is wrong: its {name} differ by {difference:.2g} from PyTorch's, "
                    f"more than {TOLERANCE}, in a batch of {shape[0]} posts of {word_mask.shape[1]} sub-tokens."
                )
            largest = max(largest, difference)
        if not torch.equal(expected.predictions, actual.predictions):
            raise RuntimeError(
                f"The graph was not kept, for it gives other tags than PyTorch. Its scores differ by {largest:.2g}."
            )
    return largest

"""Training with FSDP2: what `accelerate` needs to be told for a tagger, and what is refused."""

import os

from accelerate import Accelerator
from torch.distributed.fsdp import MixedPrecisionPolicy, StateDictType
from transformers import PreTrainedModel
from transformers.utils import strtobool


def set_up_sharding(accelerator: Accelerator, model: PreTrainedModel) -> None:
    """Fit the launcher's FSDP settings to a model that is not sharded yet; without such settings nothing happens.

    Weights stay in float32 and autocast computes in half precision, as in one process. FSDP2's own policy would cast
    alpha, beta, the CRF, the images' scores and the logits as well.

    Args:
        accelerator: The Trainer's.
        model: The model.

    Raises:
        ValueError: If the settings ask for FSDP1, for checkpoints that only FSDP can read, or for sharding on a device
            where `accelerate` does not shard.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        if strtobool(os.environ.get("ACCELERATE_USE_FSDP", "false")):
            raise ValueError(
                f"FSDP was asked for, but accelerate does not shard on {accelerator.device.type!r}: each process "
                "would hold the whole model. Launch with recipes/accelerate/ddp.yaml, or one process."
            )
        return
    if plugin.fsdp_version != 2:
        raise ValueError(f"`fsdp_version` must be 2, got {plugin.fsdp_version}: see recipes/accelerate/fsdp2.yaml.")
    if plugin.state_dict_type != StateDictType.FULL_STATE_DICT:
        raise ValueError(
            f"`fsdp_state_dict_type` must be FULL_STATE_DICT, got {plugin.state_dict_type.name}: the output folder "
            "would hold no weights that `from_pretrained` loads."
        )
    plugin.mixed_precision_policy = MixedPrecisionPolicy()
    if plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = sharded_layers(model)


def sharded_layers(model: PreTrainedModel) -> list[str]:
    """The classes of the modules whose weights are gathered together, one module after the other.

    Args:
        model: A model and all that it is made of; each part names its layers in ``_no_split_modules``.

    Returns:
        The names that occur in the model, without those of modules that hold the input embeddings, such as
        ``BertEmbeddings``: `accelerate` shards these embeddings by themselves, and a weight cannot be sharded twice.
    """
    embeddings = model.get_input_embeddings()
    modules = list(model.modules())
    holders = {type(module).__name__ for module in modules if any(child is embeddings for child in module.modules())}
    return sorted({type(module).__name__ for module in modules} & set(model._no_split_modules or ()) - holders)

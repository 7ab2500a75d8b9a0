"""Training with FSDP2: what `accelerate` needs to be told for a tagger, and what is refused."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils.constants import FSDP_MODEL_NAME
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, StateDictType
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


def check_same_sharding(checkpoint: str | Path, sharded: bool) -> None:
    """Refuse a checkpoint whose optimizer's state is in the form of the other kind of training.

    Args:
        checkpoint: The folder of a checkpoint that training would go on from.
        sharded: Whether the model is sharded now.

    Raises:
        ValueError: If the checkpoint was written with FSDP2 and the model is not sharded, or the other way round.
    """
    was_sharded = Path(checkpoint, f"{FSDP_MODEL_NAME}.bin").exists()
    if was_sharded != sharded:
        how = "with" if was_sharded else "without"
        raise ValueError(
            f"{checkpoint} was written {how} FSDP2: go on {how} it, or begin a run from its weights: "
            f"--model_name_or_path {checkpoint}."
        )


@contextlib.contextmanager
def under_its_own_class(model: PreTrainedModel) -> Iterator[None]:
    """Let a model be saved as what it is: FSDP2 gives it a class of its own, whose source would be saved with it.

    Args:
        model: A model, sharded or not.
    """
    sharded = type(model)
    model.__class__ = next(base for base in sharded.__mro__ if not issubclass(base, FSDPModule))
    try:
        yield
    finally:
        model.__class__ = sharded

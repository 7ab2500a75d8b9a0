"""Parameter groups: backbones move slowly, everything fresh moves fast."""

from torch import nn

from modeling_iqcr import LinearChainCRF


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    head_learning_rate: float | None = None,
    vision_learning_rate: float | None = None,
    weight_decay: float = 0.0,
) -> list[dict]:
    """Sort the trainable parameters by learning rate and weight decay.

    At a backbone's 2e-5 a scalar such as alpha, or a transition of the CRF, moves by about 0.1 in a whole run.

    Args:
        model: A tagger whose base model names its backbones ``text_model`` and ``vision_model``.
        learning_rate: Of the text backbone, and of what has no rate of its own.
        head_learning_rate: Of everything that is no backbone; ``None``: `learning_rate`.
        vision_learning_rate: Of the vision backbone; ``None``: `learning_rate`.
        weight_decay: Of matrices; biases, norms, scales and the CRF have none.

    Returns:
        Groups for an optimizer, each with ``params``, ``lr`` and ``weight_decay``; none is empty.
    """
    head_learning_rate = learning_rate if head_learning_rate is None else head_learning_rate
    vision_learning_rate = learning_rate if vision_learning_rate is None else vision_learning_rate
    chains = {id(p) for module in model.modules() if isinstance(module, LinearChainCRF) for p in module.parameters()}
    prefix = f"{model.base_model_prefix}." if hasattr(model, model.base_model_prefix) else ""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith(f"{prefix}text_model."):
            rate = learning_rate
        elif name.startswith(f"{prefix}vision_model."):
            rate = vision_learning_rate
        else:
            rate = head_learning_rate
        # Biases, norms and scales have at most one axis; a decayed transition would forget which steps are rare.
        decay = 0.0 if parameter.dim() < 2 or id(parameter) in chains else weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]

"""The borders of entities without their types: what a label says of them, and back."""

from collections.abc import Sequence

import torch
from torch.nn.functional import one_hot

BOUNDARY_TAGS = "OBI"


def boundary_tags(labels: Sequence[str]) -> torch.Tensor:
    """The boundary tag of each label.

    Args:
        labels: The label names in the order of their ids.

    Returns:
        0 for O, 1 for B- and 2 for I-, on the CPU, ``(C,)``.

    Raises:
        ValueError: If a label is not in BIO form.
    """
    prefixes = [label if label == "O" else label[:1] if label[1:2] == "-" else None for label in labels]
    if not set(prefixes) <= set(BOUNDARY_TAGS):
        raise ValueError(f"The borders of entities need labels in BIO form, got {list(labels)}.")
    # The device is named because a model may be built under `torch.device("meta")`, where tensors have no values.
    return torch.tensor([BOUNDARY_TAGS.index(prefix) for prefix in prefixes], device="cpu")


def boundary_conversion(tags: torch.Tensor) -> torch.Tensor:
    """How much of a boundary tag's score goes to each label: an equal share to all that it stands for.

    Args:
        tags: The boundary tag of each label, ``(C,)``.

    Returns:
        The conversion matrix, ``(3, C)``; a row sums to 1, or to 0 where no label is of its kind.

    Source:
        Yu et al., UMT, ACL 2020, where the shares are 1, 1/4 and 1/4.
    """
    members = one_hot(tags, len(BOUNDARY_TAGS)).T
    return members / members.sum(dim=1, keepdim=True).clamp(min=1)

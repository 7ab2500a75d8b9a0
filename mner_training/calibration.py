"""How far an entity's probability can be believed, and the temperature that makes it more so."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from datasets.utils import tqdm
from torch.utils.data import DataLoader

from mner_training.data import EncodedSplit
from mner_training.data_collator import PostCollator
from processing_iqcr.decoding import decode_posts, score_entities
from processing_iqcr.entities import tags_to_entities

NUM_BINS = 10
"""Bins of equal width over ``[0, 1]``."""
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Bin(NamedTuple):
    """Entities whose probability lies in one range.

    Attributes:
        low: Where the range begins.
        high: Where it ends.
        count: How many entities lie in it.
        confidence: Their mean probability; NaN if there is none.
        precision: The share of them that is right; likewise.
    """

    low: float
    high: float
    count: int
    confidence: float
    precision: float


class Cut(NamedTuple):
    """What is left if entities below a threshold are dropped: their number, precision, recall and F1."""

    threshold: float
    count: int
    precision: float
    recall: float
    f1: float


class TaggedSplit:
    """A split as a model tagged it, from which probabilities follow for any temperature.

    Args:
        model: The tagger, in ``eval()``.
        processor: Its processor.
        split: The split, with tags.
        batch_size: Rows that go through the model together.

    Attributes:
        correct: For each predicted entity whether exactly it is gold, ``(E,)``, bool.
        num_gold: How many gold entities there are.

    Raises:
        ValueError: If the split has no tags.
    """

    def __init__(self, model, processor, split: EncodedSplit, batch_size: int = 32):
        if split.tags is None:
            raise ValueError(f"The split {split.name!r} has no tags, so nobody knows which entities are right.")
        self.model = model
        self.windows = split.windows
        collate = PostCollator(processor, model, with_images=model.config.use_images)
        width = max(map(len, split.rows["input_ids"]))
        logits = torch.zeros(len(split.rows), width, model.config.num_labels)
        self.word_mask = torch.zeros(len(split.rows), width, dtype=torch.bool)
        row = 0
        loader = DataLoader(split.rows, batch_size=batch_size, collate_fn=collate)
        for batch in tqdm(loader, desc=f"Tagging {split.name}"):
            batch.pop("labels", None)
            with torch.no_grad():
                inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
                outputs = model(**collate.normalize(inputs))
            rows = slice(row, row + len(batch["input_ids"]))
            logits[rows, : outputs.logits.shape[1]] = outputs.logits.float().cpu()
            self.word_mask[rows, : outputs.logits.shape[1]] = batch["word_mask"].cpu()
            row = rows.stop
        self.logits = logits
        self.entities = [post.entities for post in decode_posts(model, logits, self.word_mask, self.windows)]
        gold = [set(tags_to_entities(tags)) for tags in split.tags]
        self.num_gold = sum(map(len, gold))
        self.correct = np.array(
            [entity in of_post for found, of_post in zip(self.entities, gold, strict=True) for entity in found], bool
        )

    def probabilities(self, temperature: float) -> np.ndarray:
        """The probability of each predicted entity at a temperature, in ``[0, 1]``, ``(E,)``."""
        before = self.model.config.confidence_temperature
        self.model.config.confidence_temperature = temperature
        try:
            of_posts = score_entities(self.model, self.logits, self.word_mask, self.windows, self.entities)
        finally:
            self.model.config.confidence_temperature = before
        return np.array([probability for of_post in of_posts for probability in of_post])


def reliability(probabilities: np.ndarray, correct: np.ndarray, num_bins: int = NUM_BINS) -> list[Bin]:
    """Sort entities into bins of equal width by their probability.

    Args:
        probabilities: In ``[0, 1]``, ``(E,)``.
        correct: Which of them are right, ``(E,)``.
        num_bins: How many bins.

    Returns:
        All bins, the empty ones too; an upper border belongs to the next bin, 1 to the last.

    Source:
        Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, Section 2.
    """
    which = np.minimum((probabilities * num_bins).astype(int), num_bins - 1)
    bins = []
    for number in range(num_bins):
        inside = which == number
        means = (
            (float(probabilities[inside].mean()), float(correct[inside].mean())) if inside.any() else (math.nan,) * 2
        )
        bins.append(Bin(number / num_bins, (number + 1) / num_bins, int(inside.sum()), *means))
    return bins


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance of confidence and precision over all entities, in ``[0, 1]``; NaN if there are none.

    Source:
        Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, Eq. 3.
    """
    total = sum(one.count for one in bins)
    if not total:
        return math.nan
    return sum(one.count * abs(one.precision - one.confidence) for one in bins if one.count) / total


def log_loss(probabilities: np.ndarray, correct: np.ndarray) -> float:
    """The mean negative log-likelihood of what is right and what is not, in nats."""
    likelihood = np.where(correct, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(likelihood, 1e-7)).mean())  # float32 knows no probability closer to 1


def fit_temperature(loss: Callable[[float], float], low: float = 0.1, high: float = 10.0, steps: int = 30) -> float:
    """The temperature with the lowest loss, by golden-section search over its logarithm.

    Args:
        loss: The loss at a temperature, with one minimum.
        low: The lowest temperature to try.
        high: The highest.
        steps: How often the interval is cut; 30 leave a millionth of it.

    Returns:
        The temperature.
    """
    ratio = (math.sqrt(5) - 1) / 2
    left, right = math.log(low), math.log(high)
    inner = [right - ratio * (right - left), left + ratio * (right - left)]
    losses = [loss(math.exp(point)) for point in inner]
    for _ in range(steps):
        if losses[0] <= losses[1]:
            right, inner[1], losses[1] = inner[1], inner[0], losses[0]
            inner[0] = right - ratio * (right - left)
            losses[0] = loss(math.exp(inner[0]))
        else:
            left, inner[0], losses[0] = inner[0], inner[1], losses[1]
            inner[1] = left + ratio * (right - left)
            losses[1] = loss(math.exp(inner[1]))
    return math.exp((left + right) / 2)


def sweep_thresholds(
    probabilities: np.ndarray, correct: np.ndarray, num_gold: int, thresholds: Sequence[float] = THRESHOLDS
) -> list[Cut]:
    """Precision, recall and F1 of the entities that are at least so probable.

    Args:
        probabilities: In ``[0, 1]``, ``(E,)``.
        correct: Which of them are right, ``(E,)``.
        num_gold: How many gold entities there are.
        thresholds: The thresholds.

    Returns:
        One entry per threshold; precision is NaN where nothing is left.
    """
    cuts = []
    for threshold in thresholds:
        kept = correct[probabilities >= threshold]
        right = int(kept.sum())
        precision = right / len(kept) if len(kept) else math.nan
        recall = right / num_gold if num_gold else math.nan
        cuts.append(Cut(threshold, len(kept), precision, recall, 2 * right / max(len(kept) + num_gold, 1)))
    return cuts

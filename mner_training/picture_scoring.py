"""The work of scoring: pictures read ahead, scored in batches, and stored after each."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from datasets.utils import tqdm
from PIL import Image

from mner_training.score_cache import DiskFullError, ScoreCache
from processing_iqcr.image_loading import ImageLoadingError, load_image
from processing_iqcr.scorer_files import UnscorableImageError
from processing_iqcr.scorers import Scorer, find_fault, score_each

# What would take longer than this is not gone on with unless somebody said yes.
LONG_SECONDS = 3600
# A batch is what is lost when the process is killed: pictures for about this many seconds, and no more of them, nor of
# their files' bytes, which are a tenth of the decoded ones or so.
_BATCH_SECONDS = 10
_BATCH_PICTURES = 64
_BATCH_BYTES = 32_000_000


class ScoringError(ValueError):
    """A picture cannot be scored, or not in the time allowed; the message names its post."""


@dataclass
class Picture:
    """A picture, wherever it occurs, and what is to be known of it.

    Attributes:
        name: What errors call its first occurrence.
        place: Split, row and number of its first occurrence.
        size: Bytes of its file.
        keys: For each kind of scorer the keys of the scores that are wanted, each with the text of its post.
    """

    name: str
    place: tuple[str, int, int]
    size: int
    keys: dict[str, dict[bytes, str]]


class _Pair(NamedTuple):
    """One score to compute."""

    name: str
    key: bytes
    text: str
    image: Image.Image


class PictureScoring:
    """Scores pictures that have no score in the cache.

    Args:
        scorers: By kind.
        cache: Where scores are kept.
        read: Gives a picture's file as `load_image` takes it.
        drop_bad: Leave out a score that is NaN or out of its range, instead of ending with an error.

    Attributes:
        failures: The pictures that could not be scored, each with the reason.
    """

    def __init__(
        self,
        scorers: Mapping[str, Scorer],
        cache: ScoreCache,
        read: Callable[[Picture], dict],
        drop_bad: bool = False,
    ):
        self.scorers = scorers
        self.cache = cache
        self.read = read
        self.drop_bad = drop_bad
        self.failures: dict[str, str] = {}

    def run(self, pictures: Sequence[Picture], yes: bool, show_progress: bool) -> Counter:
        """Score what is not in the cache yet.

        Args:
            pictures: The share of this process.
            yes: Go on also with what will take more than an hour.
            show_progress: Whether to show a progress bar: pictures per second and the time left.

        Returns:
            How many scores of each kind were computed.

        Raises:
            ScoringError: If a scorer gives NaN or a score out of its range, or it would take too long.
            DiskFullError: If the cache finds no room.
        """
        todo = self._unknown(pictures)
        computed: Counter = Counter()
        if not todo:
            return computed
        progress = tqdm(
            total=len(pictures),
            initial=len(pictures) - len(todo),
            desc="Scoring pictures",
            unit=" pictures",
            disable=None if show_progress else True,
        )
        measured, seconds, is_warm, judged = 0, 0.0, False, yes
        with progress, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            batches = _Batches(todo, pool, self._load)
            batch = batches.take(1)
            while batch:
                # The next pictures are read and decoded while these are scored.
                following = batches.take(batches.size)
                images = [(picture, future.result()) for picture, future in batch]
                images = [(picture, image) for picture, image in images if image is not None]
                started = time.perf_counter()
                computed += self._score(images)
                elapsed = time.perf_counter() - started
                progress.update(len(batch))
                if images and is_warm:
                    batches.size = int(min(max(_BATCH_SECONDS * len(images) / max(elapsed, 1e-9), 1), _BATCH_PICTURES))
                    measured, seconds = measured + len(images), seconds + elapsed
                    if not judged and seconds >= _BATCH_SECONDS:
                        _refuse_long(seconds / measured, len(todo), self.cache)
                        judged = True
                # The first pictures load the networks, and say nothing of how long others will take.
                is_warm = is_warm or bool(images)
                batch = following
        return computed

    def _unknown(self, pictures: Sequence[Picture]) -> list[Picture]:
        """The pictures with a score that the cache lacks, their keys being those that it lacks."""
        known = {
            kind: self.cache.get(scorer.description, [key for picture in pictures for key in picture.keys[kind]])
            for kind, scorer in self.scorers.items()
        }
        unknown = []
        for picture in pictures:
            keys = {
                kind: {key: text for key, text in wanted.items() if key not in known[kind]}
                for kind, wanted in picture.keys.items()
            }
            if any(keys.values()):
                unknown.append(Picture(picture.name, picture.place, picture.size, keys))
        return unknown

    def _load(self, picture: Picture) -> Image.Image | None:
        """The picture at its own resolution; ``None`` for one that cannot be read, which is noted."""
        try:
            return load_image(self.read(picture), where=picture.name)
        except ImageLoadingError as error:
            self.failures[picture.name] = str(error)
            return None

    def _score(self, batch: Sequence[tuple[Picture, Image.Image]]) -> Counter:
        """Compute and store the scores of a batch."""
        found, bad = {}, []
        for kind, scorer in self.scorers.items():
            found[kind] = {}
            pairs = [
                _Pair(picture.name, key, text, image)
                for picture, image in batch
                for key, text in picture.keys[kind].items()
            ]
            scores = score_each(kind, scorer, [pair.text for pair in pairs], [pair.image for pair in pairs])
            for pair, score in zip(pairs, scores, strict=True):
                if isinstance(score, UnscorableImageError):
                    self.failures[f"{pair.name}, {kind}"] = f"{pair.name}: {score}"
                    continue
                fault = find_fault(kind, score)
                if fault is None:
                    found[kind][pair.key] = score
                else:
                    bad.append(f"{pair.name}: its {kind.removesuffix('_scorer')} {fault}, by {scorer.description}")
        try:
            self.cache.put([(self.scorers[kind].description, scores) for kind, scores in found.items()])
        except DiskFullError as error:
            raise DiskFullError(error.errno, f"{error.strerror} It was at {batch[-1][0].name}.") from error
        if bad and not self.drop_bad:
            raise ScoringError(
                f"{bad[0]}. All other scores that were computed are kept in {self.cache.path}. See to the picture or "
                "to the scorer, or set `broken_images` to 'drop' to go on without this score."
            )
        self.failures |= {message: message for message in bad}
        return Counter({kind: len(scores) for kind, scores in found.items()})


class _Batches:
    """Pictures in their order, being read by a pool of threads from the moment that they are taken.

    Args:
        pictures: The pictures.
        pool: The threads.
        load: Reads one.

    Attributes:
        size: How many pictures the next batch is to have.
    """

    def __init__(
        self, pictures: Sequence[Picture], pool: ThreadPoolExecutor, load: Callable[[Picture], Image.Image | None]
    ):
        self.size = 1
        self.pictures = iter(pictures)
        self.pool = pool
        self.load = load

    def take(self, size: int) -> list[tuple[Picture, Future]]:
        """The next pictures, at least one while there are any."""
        batch, num_bytes = [], 0
        while len(batch) < size and num_bytes < _BATCH_BYTES:
            picture = next(self.pictures, None)
            if picture is None:
                break
            batch.append((picture, self.pool.submit(self.load, picture)))
            num_bytes += picture.size
        return batch


def _refuse_long(seconds: float, num_pictures: int, cache: ScoreCache) -> None:
    """Say what will take hours before it does.

    Raises:
        ScoringError: If it will.
    """
    total = seconds * num_pictures
    if total > LONG_SECONDS:
        raise ScoringError(
            f"Scoring {num_pictures:,} pictures will take about {total / 3600:.1f} hours here ({seconds:.2g} s a "
            f"picture; what is computed is kept in {cache.path}). To go on pass --yes. A GPU, fewer crops "
            "(`num_crops` of MANIQA) or another scorer make it shorter."
        )

"""What only shows across splits: ids and texts that occur twice, entities that training has not seen."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from .tag_schemes import find_entities

# Characters of a text that the report shows.
_TEXT_SHOWN = 200


class CorpusChecks:
    """Checks to be fed with every post, those of the training split first. They keep a few hundred bytes of each."""

    def __init__(self) -> None:
        self._splits_of_ids: dict[str, str] = {}
        self._posts_of_texts: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
        self._shared_texts: dict[bytes, str] = {}
        self._trained_entities: set[bytes] = set()
        self._seen: dict[str, dict[str, dict[str, int]]] = {}

    def add(self, split: str, post_id: str, tokens: Sequence[str], tags: Sequence[str]) -> None:
        """Take in one post.

        Args:
            split: Its split.
            post_id: Its id.
            tokens: Its words.
            tags: Its BIO tags.

        Raises:
            ValueError: If its id occurs in another split.
        """
        other = self._splits_of_ids.setdefault(post_id, split)
        if other != split:
            raise ValueError(
                f"The id {post_id!r} is in the splits {other} and {split}. Give every post its own id; if it is the "
                "same post, take it out of one of them."
            )
        text = " ".join(tokens)
        key = _digest(text)
        posts = self._posts_of_texts[key]
        posts.append((split, post_id))
        if posts[0][0] != split:
            self._shared_texts[key] = text
        counts = self._seen.setdefault(split, {})
        for start, end, entity_type in find_entities(tags):
            entity = _digest(entity_type, " ".join(tokens[start:end]))
            if split == "train":
                self._trained_entities.add(entity)
            else:
                of_type = counts.setdefault(entity_type, {"seen": 0, "unseen": 0})
                of_type["seen" if entity in self._trained_entities else "unseen"] += 1

    def texts_in_two_splits(self) -> list[dict[str, Any]]:
        """List the texts that occur in more than one split, upper and lower case being the same.

        Returns:
            The beginning of each text, and its posts as pairs of split and id.
        """
        return [
            {"text": text[:_TEXT_SHOWN], "posts": [list(post) for post in self._posts_of_texts[key]]}
            for key, text in self._shared_texts.items()
        ]

    def entities_seen_in_training(self) -> dict[str, dict[str, dict[str, int]]]:
        """Count which entities of the other splits are, in any case, entities of the same type in the training split.

        Returns:
            By split and type, how many are seen and unseen. Empty without a training split.
        """
        if not self._trained_entities:
            return {}
        return {split: dict(sorted(types.items())) for split, types in self._seen.items() if split != "train"}


def _digest(*parts: str) -> bytes:
    """Sixteen bytes that stand for strings in any case."""
    return hashlib.blake2b("\0".join(parts).casefold().encode(), digest_size=16).digest()

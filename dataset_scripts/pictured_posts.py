"""pictured-posts as a corpus like the others; what it is like is told in `pictured_posts_generator`."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Features

from .features import TAG_NAMES
from .pictured_posts_generator import GENERATOR_VERSION, PicturedPostsDials, generate_posts, pictured_posts_features
from .posts_builder import PostsBuilder, PostsConfig
from .split_files import SPLITS
from .split_report import SplitReport


@dataclass
class PicturedPostsConfig(PostsConfig):
    """What to generate; nothing is read, so the options of corpora with files have no effect.

    Raises:
        ValueError: If a split would be empty.
    """

    dials: PicturedPostsDials = field(default_factory=PicturedPostsDials)
    """How the posts are made."""
    num_posts: Mapping[str, int] = field(default_factory=lambda: dict(zip(SPLITS, (5000, 500, 500), strict=True)))
    """Posts of each split, at least 1."""
    planted_scores: bool = True
    """Whether posts have the scores that follow how each picture was made; without, scorers can show what they see."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.num_posts.values()) < 1:
            raise ValueError(f"Every split needs at least one post, got {dict(self.num_posts)}.")


class PicturedPosts(PostsBuilder):
    """The generated corpus, with the columns of `pictured_posts_features`."""

    BUILDER_CONFIG_CLASS = PicturedPostsConfig
    CORPUS = "pictured-posts"
    TITLE = "pictured-posts"

    @property
    def splits(self) -> list[str]:
        """The names of the splits, training first."""
        return list(self.config.num_posts)

    def features(self) -> Features:
        """The columns."""
        features = pictured_posts_features()
        return features if self.config.planted_scores else Features(_without_scores(features))

    def text_files(self) -> dict[str, Path]:
        """No files."""
        return {}

    def image_roots(self) -> list[str]:
        """No image roots."""
        return []

    def made_from(self) -> dict[str, Any]:
        """All that decides the content."""
        return {
            "generator": GENERATOR_VERSION,
            "dials": dataclasses.asdict(self.config.dials),
            "posts": dict(self.config.num_posts),
            "planted_scores": self.config.planted_scores,
        }

    def rows(
        self, split: str, report: SplitReport | None = None, as_released: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Generate the posts of a split, as `PostsBuilder` reads them; pictures are always among them."""
        for row in generate_posts(self.config.dials, split, self.config.num_posts[split]):
            if not self.config.planted_scores:
                row = _without_scores(row)
            if report is not None:
                report.images_listed += len(row["images"])
                report.images_found += len(row["images"])
                report.add_post(row, [TAG_NAMES[tag] for tag in row["ner_tags"]])
            yield row


def _without_scores(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A row, or features, less the planted scores."""
    return {name: value for name, value in columns.items() if name not in ("quality_scores", "relevance_scores")}

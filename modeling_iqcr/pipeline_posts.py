"""Posts as the ``multimodal-ner`` pipeline takes them, and answers as it gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

# What a post may hold; `tokens` is what data sets call the words.
_WORDS = ("text", "words", "tokens")
_FIELDS = (*_WORDS, "images", "quality_scores", "relevance_scores", "id")
# Each kind of score by its name in a post: its scorer in the processor, the model's switch for it, its name in an
# answer.
SCORES = {
    "quality_scores": ("quality_scorer", "use_quality", "quality"),
    "relevance_scores": ("relevance_scorer", "use_relevance", "relevance"),
}


def post_name(post, number: int | None) -> str:
    """What errors call a post."""
    if isinstance(post, Mapping) and post.get("id") is not None:
        return f"Post {post['id']!r}"
    return f"Post {number or 0}"


def check_post(post, name: str) -> tuple[list | None, list]:
    """The words, ``None`` if there is a text, and the images of a post in its right form."""
    if not isinstance(post, Mapping):
        raise ValueError(f"{name} must be a text or a mapping with 'text' or 'words', got {type(post).__name__}.")
    given = [field for field in _WORDS if post.get(field) is not None]
    if len(given) != 1:
        found = " and ".join(map(repr, given)) or f"only {', '.join(map(repr, post)) or 'nothing'}"
        raise ValueError(f"{name}: give either 'text' or 'words', got {found}.")
    unknown = [field for field in post if field not in _FIELDS]
    if unknown and given != ["tokens"]:
        known = ", ".join(map(repr, _FIELDS))
        raise ValueError(f"{name}: a post has no {', '.join(map(repr, unknown))}. It may have {known}.")
    images = [] if post.get("images") is None else post["images"]
    if not isinstance(images, list | tuple):
        raise ValueError(
            f"{name}: `images` must be a list, got {type(images).__name__}. For one picture pass a list of one."
        )
    for kind in SCORES:
        scores = post.get(kind)
        if scores is not None and (isinstance(scores, str) or not isinstance(scores, Sequence)):
            raise ValueError(f"{name}: `{kind}` must be a list with one score per picture, got {scores!r}.")
    return None if given == ["text"] else post[given[0]], list(images)


def without_image(prepared: dict[str, Any], image: int) -> dict[str, Any]:
    """A prepared post that has not this picture."""
    rows = [
        row
        | {
            name: [value for number, value in enumerate(row[name]) if number != image]
            for name in ("pixel_bytes", *SCORES)
            if row.get(name) is not None
        }
        for row in prepared["rows"]
    ]
    return prepared | {"rows": rows}


def make_answer(post: dict[str, Any], prediction=None, **of_images: list[float]) -> dict[str, Any]:
    """A post's answer; without a prediction it has no entities."""
    entities = []
    for entity, score in zip(prediction.entities, prediction.probabilities, strict=True) if prediction else ():
        start, end = post["spans"][entity.start][0], post["spans"][entity.end - 1][1]
        word = post["text"][start:end]
        entities.append({"entity_group": entity.type, "word": word, "start": start, "end": end, "score": score})
    images = [
        known | {name: item(of_images.get(name), number) for name in ("weight", "gate")}
        for number, known in enumerate(post["images"])
    ]
    return {"text": post["text"], "entities": entities, "images": images}


def item(values: Sequence[float | None] | None, number: int) -> float | None:
    """The number-th value, ``None`` where there is none."""
    return values[number] if values is not None and number < len(values) else None

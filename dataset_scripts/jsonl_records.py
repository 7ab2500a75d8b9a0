"""A user's own posts as JSON Lines: one object a line, its entities as tags of words or as spans of characters.

With tags:  ``{"tokens": ["Kobe", "!"], "ner_tags": ["B-PER", "O"], "file_names": ["1.jpg", "2.jpg"]}``
With spans: ``{"text": "Kobe!", "entities": [{"start": 0, "end": 4, "label": "PER"}], "file_name": "1.jpg"}``
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from processing_iqcr.word_splitting import split_words

from .records import Record, check_picture_name
from .tag_conversion import TagScheme, spans_to_bio, to_bio
from .text_lines import read_lines

# The fields of the two kinds of post, and those that may name its pictures: `datasets`' imagefolder has the first two.
_TAGGED, _SPANNED = ("tokens", "ner_tags"), ("text", "entities")
_PICTURE_FIELDS = ("file_names", "file_name", "images")


def read_jsonl(path: str | Path, source: str, scheme: TagScheme = "bio", id_prefix: str = "") -> Iterator[Record]:
    """Read the posts of one file, with memory for one line. Blank lines are passed over.

    A field that is ``null`` counts as absent, and fields of other names are passed over.

    Args:
        path: The file, UTF-8. Each line has `tokens` and `ner_tags`, or `text` and `entities`. Optional are `id`,
            `url`, and the pictures as `file_names`, `file_name` or `images`.
        source: The corpus, kept with every post.
        scheme: How `ner_tags` are written.
        id_prefix: Put before the number of the line, which is the id of a post without one.

    Yields:
        One record per post, its tags in BIO. A `text` is split into words by `split_words`.

    Raises:
        ValueError: If the file is not UTF-8, a line is no JSON object, a field is missing or of a wrong type, a post
            has no words, the name of a picture could lead out of its folder, or the tags or spans cannot be
            converted. The message names file and line.
    """
    for where, line in read_lines(path):
        if line.strip():
            default_id = id_prefix + where.rpartition(":")[2]
            yield _to_record(_parse(line, where), source, scheme, default_id, where)


def _parse(line: str, where: str) -> dict[str, Any]:
    """The fields of a line that are not null."""
    try:
        value = json.loads(line)
        # JSON can spell half a surrogate pair, which no text file, and no Parquet file, can hold.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: the line holds {error.object[error.start]!r}, half a surrogate pair. Write the whole character."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{where}: the line cannot be read as JSON ({type(error).__name__}). It begins with {line[:60]!r}. Write "
            "one JSON object a line."
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object {{...}}, got {type(value).__name__}. Write one a line.")
    return {name: content for name, content in value.items() if content is not None}


def _to_record(value: dict[str, Any], source: str, scheme: TagScheme, default_id: str, where: str) -> Record:
    """Check the fields of a parsed line."""
    post_id = value.get("id", default_id)
    if isinstance(post_id, bool) or not isinstance(post_id, int | str) or post_id == "":
        raise ValueError(f"{where}: `id` must be a whole number or a string that is not empty, got {post_id!r:.60}.")
    post = f"{where}, post {str(post_id)!r}"
    url = value.get("url", "")
    if not isinstance(url, str):
        raise ValueError(f"{post}: `url` must be a string, got {type(url).__name__}.")
    _check_kind(value, post)
    repairs: list[str] = []
    if "tokens" in value:
        tokens, tags = _read_tagged(value, scheme, post)
    else:
        tokens, tags, repairs = _read_spanned(value, post)
    return Record(str(post_id), tokens, tags, _read_pictures(value, post), url, source, where, tuple(repairs))


def _check_kind(value: dict[str, Any], post: str) -> None:
    """Refuse a post that has not exactly the fields of one kind."""
    tagged, spanned = ([name for name in kind if name in value] for kind in (_TAGGED, _SPANNED))
    if (len(tagged), len(spanned)) in ((2, 0), (0, 2)):
        return
    if tagged and spanned:
        problem = f"has {', '.join(tagged + spanned)}, so its words and entities are given in two ways"
    elif tagged == ["tokens"] or spanned == ["text"]:
        problem = f"has `{(tagged + spanned)[0]}` but no entities, and a corpus to train on needs them in every post"
    else:
        problem = f"lacks its words; it has {', '.join(value) or 'no fields'}"
    raise ValueError(
        f"{post}: the post {problem}. Give `tokens` and `ner_tags` (all O if it names nothing), or `text` and "
        "`entities` ([] if it names nothing)."
    )


def _read_tagged(value: dict[str, Any], scheme: TagScheme, post: str) -> tuple[list[str], list[str]]:
    """The words and the BIO tags of a post that has tags."""
    tokens, ner_tags = _strings(value, "tokens", post), value["ner_tags"]
    if not tokens:
        raise ValueError(f"{post}: `tokens` has no words. Give it some, or take the post out.")
    if isinstance(ner_tags, list) and any(isinstance(tag, int) for tag in ner_tags):
        raise ValueError(
            f"{post}: `ner_tags` holds numbers, and the file does not say what they stand for. Write the tags as "
            "strings, such as 'B-PER'."
        )
    return tokens, to_bio(_strings(value, "ner_tags", post), scheme, post)


def _read_spanned(value: dict[str, Any], post: str) -> tuple[list[str], list[str], list[str]]:
    """The words, the BIO tags and the repairs of a post that has spans."""
    text, entities = value["text"], value["entities"]
    if not isinstance(text, str):
        raise ValueError(f"{post}: `text` must be a string, got {type(text).__name__}.")
    words = split_words(text)
    if not words:
        raise ValueError(f"{post}: `text` has no words. Give it some, or take the post out.")
    keys = ("start", "end", "label")
    if not isinstance(entities, list) or not all(
        isinstance(entity, dict) and all(key in entity for key in keys) for entity in entities
    ):
        raise ValueError(
            f'{post}: `entities` must be a list of {{"start": ..., "end": ..., "label": ...}}, got {entities!r:.60}.'
        )
    tags, repairs = spans_to_bio(text, words, [tuple(entity[key] for key in keys) for entity in entities], post)
    return [word.text for word in words], tags, repairs


def _read_pictures(value: dict[str, Any], post: str) -> list[str]:
    """The names of a post's pictures, none if it has no field for them."""
    given = [name for name in _PICTURE_FIELDS if name in value]
    if not given:
        return []
    if len(given) > 1:
        raise ValueError(f"{post}: the pictures are named in {' and '.join(given)}. Keep one of these fields.")
    if given == ["file_name"]:
        if not isinstance(value["file_name"], str):
            raise ValueError(
                f"{post}: `file_name` must be a string, got {value['file_name']!r:.60}. Write several as `file_names`."
            )
        return [check_picture_name(value["file_name"], post)]
    return [check_picture_name(name, post) for name in _strings(value, given[0], post)]


def _strings(value: dict[str, Any], name: str, post: str) -> list[str]:
    """A field that must be a list of strings."""
    content = value[name]
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise ValueError(f"{post}: `{name}` must be a list of strings, got {content!r:.60}.")
    return content

"""What a caller may pass for one post or for several, brought to one entry per post."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .word_splitting import split_words


def read_posts(text: Any, words: Any) -> tuple[Sequence[Sequence[str]], bool]:
    """The words of each post.

    Args:
        text: A raw text or a list of them, or ``None``.
        words: The words of one post or a list of such lists, or ``None``.

    Returns:
        One list of words per post, and whether one post was given instead of a list.

    Raises:
        ValueError: If not exactly one of the two is given, or it has another form.
    """
    if (text is None) == (words is None):
        raise ValueError("Give either `text` or `words`.")
    if words is None:
        single = isinstance(text, str)
        texts = [text] if single else text
        _check_list("text", texts)
        for index, post in enumerate(texts):
            if not isinstance(post, str):
                raise ValueError(f"Post {index}: `text` must be a string, got {post!r}.")
        posts = [[word.text for word in split_words(post)] for post in texts]
    else:
        if isinstance(words, str):
            raise ValueError(f"`words` is the string {words!r}: pass a list of words, or `text={words!r}`.")
        _check_list("words", words)
        single = len(words) == 0 or isinstance(words[0], str)
        posts = [words] if single else words
        for index, post in enumerate(posts):
            if isinstance(post, str) or not isinstance(post, Sequence | np.ndarray):
                raise ValueError(f"Post {index}: `words` must be a list of words, got {post!r}.")
    if len(posts) == 0:
        raise ValueError("There is no post in `text`. Pass at least one.")
    return posts, single


def one_entry_per_post(name: str, column: Any, num_posts: int, single: bool) -> Sequence:
    """The images, scores or labels of each post.

    Args:
        name: What errors call the argument.
        column: Its value: flat or nested for a single post, one list or ``None`` per post otherwise.
        num_posts: How many posts there are.
        single: Whether one post was given instead of a list.

    Returns:
        One list, or ``None``, per post.

    Raises:
        ValueError: If it is no list, or has not one list per post.
    """
    _check_list(name, column)
    if single:
        # [[image, ...]] for one post is a list with one entry per post already
        is_nested = len(column) == 1 and isinstance(column[0], list | tuple)
        return column if is_nested else [column]
    if len(column) != num_posts:
        raise ValueError(f"{num_posts} posts, but {len(column)} entries in `{name}`. Give one list per post.")
    for index, entry in enumerate(column):
        if entry is not None:
            _check_list(name, entry, f"Post {index}: ")
    return column


def check_labels(word_labels: Sequence[int] | None, num_words: int, name: str) -> None:
    """Refuse labels that are not one tag id per word.

    Args:
        word_labels: The labels of one post; ``None`` is fine.
        num_words: How many words the post has.
        name: What errors call the post.

    Raises:
        ValueError: If there are more or fewer, or one is no whole number.
    """
    if word_labels is None:
        return
    if len(word_labels) != num_words:
        raise ValueError(f"{name}: {len(word_labels)} labels for {num_words} words. Give one label per word.")
    for position, label in enumerate(word_labels):
        if not isinstance(label, int | np.integer):
            raise ValueError(f"{name}, word {position}: the label {label!r} is no tag id. Pass ids, as in `label2id`.")


def _check_list(name: str, value: Any, where: str = "") -> None:
    """Refuse what is no list; one array of images could as well be one image."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray):
        kind = type(value).__name__
        raise ValueError(f"{where}`{name}` must be a list, got {kind}. For one entry pass a list of one.")
    if name == "images" and isinstance(value, np.ndarray):
        shape = value.shape
        raise ValueError(f"{where}`images` must be a list, got one array of shape {shape}. Pass a list of arrays.")

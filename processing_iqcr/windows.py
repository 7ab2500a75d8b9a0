"""Overlapping windows: how a post longer than the model's input is tagged whole.

A long post becomes several rows of the model, each a window of its words. Neighbouring windows share words, so that a
word near the end of one window is seen again with words on both sides; each word's scores are then taken from the
window that shows most of its surroundings. Nearly every post fits in one window and passes through unchanged.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch


class Window(NamedTuple):
    """Words ``[start, end)`` of one post, one row of the model.

    Attributes:
        post: Which post, counted from 0.
        start: Its first word, counted from 0 in the post.
        end: The word after its last one.
    """

    post: int
    start: int
    end: int


def split_into_windows(token_counts: Sequence[int], capacity: int, overlap: int, post: int = 0) -> list[Window]:
    """Cover the words of a post with windows that each fit the model.

    Each window takes as many words as fit. The next one begins with the last words of it, as many as fit in `overlap`,
    or fewer where a long word would otherwise leave no room for anything new.

    Args:
        token_counts: Sub-tokens of each word, 1 to `capacity`. A word longer than a whole window has to be cut before.
        capacity: Sub-tokens that fit in a window, special tokens not counted.
        overlap: The most sub-tokens that two neighbouring windows share, less than `capacity`.
        post: The post's number, which the windows carry.

    Returns:
        The windows from left to right; starts and ends both increase. A post that fits has exactly one.

    Raises:
        ValueError: If there are no words, a count is out of range, or `capacity` and `overlap` do not go together.
    """
    if capacity < 1:
        raise ValueError(f"`capacity` must be at least 1 sub-token, got {capacity}.")
    if not 0 <= overlap < capacity:
        raise ValueError(f"`overlap` must lie in [0, capacity), got {overlap} with a capacity of {capacity}.")
    if len(token_counts) == 0:
        raise ValueError(f"Post {post} has no words: there is nothing to put in a window.")
    for word, count in enumerate(token_counts):
        if not 1 <= count <= capacity:
            raise ValueError(
                f"Post {post}, word {word}: {count} sub-tokens, expected 1 to {capacity}, the capacity of a window. "
                "Cut longer words first; feed a word that the tokenizer swallows as the unknown token."
            )
    tokens_before = [0, *accumulate(token_counts)]
    num_words = len(token_counts)
    windows, start, end = [], 0, 0
    while end < num_words:
        end = bisect_right(tokens_before, tokens_before[start] + capacity) - 1
        windows.append(Window(post, start, end))
        if end < num_words:
            # The next window keeps within `overlap` on its left and has room for the word at `end`.
            earliest = max(tokens_before[end] - overlap, tokens_before[end + 1] - capacity)
            start = bisect_left(tokens_before, earliest)
    return windows


def choose_window(windows: Sequence[Window]) -> np.ndarray:
    """Say for each word of one post which window shows most of its surroundings.

    A word's context in a window is its distance in words to the nearer border; a border that is the post's own counts
    as infinitely far, since nothing lies beyond it. Of two windows that are equally good the earlier one is chosen.

    Args:
        windows: All windows of one post, from left to right.

    Returns:
        Indices into `windows`, one per word, int, ``(W,)``.

    Raises:
        ValueError: If the windows belong to several posts, are out of order, or leave words out.
    """
    post, start, end = _as_columns(windows)
    if (post != post[0]).any():
        raise ValueError(f"Expected the windows of one post, got those of posts {sorted(set(post.tolist()))}.")
    first, last = _share_words(post, start, end)
    return np.repeat(np.arange(len(windows)), last - first)


def merge_windows(
    scores: torch.Tensor, word_mask: torch.Tensor, windows: Sequence[Window]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the word scores of windows together into one row per post.

    Args:
        scores: Anything that the model says per position, ``(R, T, C)``.
        word_mask: ``True`` at the position that speaks for a word; the k-th ``True`` of a row is the k-th word of its
            window, bool, ``(R, T)``.
        windows: The window of each row, in any order; all windows of posts ``0`` to ``P - 1``, each once.

    Returns:
        The scores of each post's words, left-aligned, 0 on padding, ``(P, W, C)``, and the mask of real words, bool,
        ``(P, W)``. Each word's scores come from its window in `choose_window`.

    Raises:
        ValueError: If shapes, rows and windows disagree, or the windows leave out a post or words of one.
    """
    if scores.dim() != 3 or word_mask.shape != scores.shape[:2] or word_mask.dtype != torch.bool:
        raise ValueError(
            "Expected `scores` (R, T, C) and a bool `word_mask` (R, T), got "
            f"{tuple(scores.shape)} and {word_mask.dtype} {tuple(word_mask.shape)}."
        )
    if len(scores) != len(windows):
        raise ValueError(f"{len(scores)} rows of scores for {len(windows)} windows: expected one row per window.")
    post, start, end = _as_columns(windows)
    words_in_row = word_mask.sum(dim=1).cpu().numpy()
    wrong = words_in_row != end - start
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(
            f"Row {row} has {words_in_row[row]} words in `word_mask`, but its window (post {post[row]}, words "
            f"{start[row]} to {end[row]}) has {end[row] - start[row]}."
        )
    row_offset = np.cumsum(words_in_row) - words_in_row  # of each row's first word among the words of all rows

    order = np.lexsort((start, post))
    post, start, end, row_offset = post[order], start[order], end[order], row_offset[order]
    posts = np.unique(post)
    if len(posts) <= posts[-1]:
        missing = (posts != np.arange(len(posts))).argmax()
        raise ValueError(f"Post {missing} has no window, though post {posts[-1]} has. Expected all posts from 0 on.")
    first, last = _share_words(post, start, end)
    taken = last - first  # (R,) words that each window contributes
    words_in_post = np.bincount(post, weights=taken).astype(np.int64)  # (P,)

    # One index per word of all posts: where it lies among the words of all rows.
    source = np.arange(taken.sum()) + np.repeat(row_offset + first - start - (np.cumsum(taken) - taken), taken)
    tag_mask = torch.from_numpy(np.arange(words_in_post.max()) < words_in_post[:, None]).to(scores.device)  # (P, W)
    merged = scores.new_zeros(*tag_mask.shape, scores.shape[-1])
    merged[tag_mask] = scores[word_mask][torch.from_numpy(source).to(scores.device)]
    return merged, tag_mask


def _as_columns(windows: Sequence[Window]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn windows into three int arrays ``(R,)``, and refuse what cannot be a window."""
    if len(windows) == 0:
        raise ValueError("No windows were given: expected at least one.")
    post, start, end = np.asarray(windows, dtype=np.int64).T
    wrong = (post < 0) | (start < 0) | (end <= start)
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(f"Window {row} is {tuple(windows[row])}: expected post >= 0 and 0 <= start < end.")
    return post, start, end


def _share_words(post: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give each window, sorted by post and start, the words ``[first, last)`` that are taken from it.

    Since starts and ends increase, a word at i sees less of its left side and more of its right side with every
    further window. So the next window is the better one exactly if its left border is farther from i than the right
    border of this one: ``i - next_start > end - 1 - i``. That is one cut between two neighbours, and the post's own
    borders never decide.
    """
    joined = post[1:] == post[:-1]  # (R - 1,) the next window belongs to the same post
    wrong = joined & ((start[1:] <= start[:-1]) | (end[1:] <= end[:-1]))
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(
            f"Post {post[row]}: window ({start[row + 1]}, {end[row + 1]}) does not go beyond ({start[row]}, "
            f"{end[row]}). Expected each window once, from left to right, none inside another."
        )
    reached = np.concatenate(([0], np.where(joined, end[:-1], 0)))  # (R,) where the windows before this one leave off
    wrong = start > reached
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(f"Post {post[row]}: words {reached[row]} to {start[row]} (end exclusive) are in no window.")
    first = np.zeros_like(start)
    first[1:][joined] = (start[1:] + end[:-1] + 1)[joined] // 2
    last = end.copy()
    last[:-1][joined] = first[1:][joined]
    return first, last

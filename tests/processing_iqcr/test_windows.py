"""Windows are held to what they promise, and merging to posts whose true scores are known."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processing_iqcr.windows import Window, choose_window, merge_windows, split_into_windows


@st.composite
def splits(draw):
    capacity = draw(st.integers(1, 30))
    overlap = draw(st.integers(0, capacity - 1))
    token_counts = draw(st.lists(st.integers(1, capacity), min_size=1, max_size=60))
    return token_counts, capacity, overlap


@settings(max_examples=600, deadline=None)
@given(splits())
def test_windows_cover_fit_progress_and_overlap_as_much_as_they_may(split):
    token_counts, capacity, overlap = split
    windows = split_into_windows(token_counts, capacity, overlap, post=7)
    size = [sum(token_counts[window.start : window.end]) for window in windows]

    assert {window.post for window in windows} == {7}
    assert {word for window in windows for word in range(window.start, window.end)} == set(range(len(token_counts)))
    assert max(size) <= capacity
    if sum(token_counts) <= capacity:
        assert windows == [(7, 0, len(token_counts))]
    for window, following in pairwise(windows):
        # Greedy: one more word would not have fitted.
        assert sum(token_counts[window.start : window.end + 1]) > capacity
        assert following.start > window.start
        assert following.end > window.end
        assert following.start <= window.end
        assert sum(token_counts[following.start : window.end]) <= overlap
        # One word more of overlap would break the bound or leave no room for a new word.
        wider = following.start - 1
        too_much_overlap = sum(token_counts[wider : window.end]) > overlap
        no_room = sum(token_counts[wider : window.end + 1]) > capacity
        assert too_much_overlap or no_room


def test_splitting_by_hand():
    assert split_into_windows([1] * 10, capacity=4, overlap=2) == [(0, 0, 4), (0, 2, 6), (0, 4, 8), (0, 6, 10)]
    assert split_into_windows([1] * 10, capacity=4, overlap=0) == [(0, 0, 4), (0, 4, 8), (0, 8, 10)]
    # A word of two sub-tokens is not shared when only one may be.
    assert split_into_windows([1, 1, 2, 1], capacity=4, overlap=1) == [(0, 0, 3), (0, 3, 4)]
    # Two words may be shared, but then the word of three sub-tokens would not fit: one is.
    assert split_into_windows([1, 1, 1, 1, 3], capacity=4, overlap=2) == [(0, 0, 4), (0, 3, 5)]
    # A word that fills a window stands alone.
    assert split_into_windows([1, 4, 1], capacity=4, overlap=3) == [(0, 0, 1), (0, 1, 2), (0, 2, 3)]


def test_a_very_long_post_with_the_most_overlap_ends():
    windows = split_into_windows([1] * 5000, capacity=128, overlap=127)
    assert len(windows) == 5000 - 128 + 1
    assert len(choose_window(windows)) == 5000


@pytest.mark.parametrize(
    ("token_counts", "capacity", "overlap", "message"),
    [
        ([1], 0, 0, "`capacity` must be at least 1"),
        ([1], 4, -1, r"`overlap` must lie in \[0, capacity\), got -1"),
        ([1], 4, 4, "got 4 with a capacity of 4"),
        ([], 4, 1, "Post 3 has no words"),
        ([1, 0], 4, 1, "Post 3, word 1: 0 sub-tokens"),
        ([1, 2, 5], 4, 1, "Post 3, word 2: 5 sub-tokens, expected 1 to 4"),
    ],
)
def test_a_split_that_cannot_be_is_refused(token_counts, capacity, overlap, message):
    with pytest.raises(ValueError, match=message):
        split_into_windows(token_counts, capacity, overlap, post=3)


def most_context(windows: list[Window]) -> list[int]:
    """The definition of `choose_window`, word by word and window by window."""
    num_words = max(window.end for window in windows)
    chosen = []
    for word in range(num_words):
        best, best_context = None, -1.0
        for index, (_, start, end) in enumerate(windows):
            if start <= word < end:
                left = word - start if start > 0 else math.inf
                right = end - 1 - word if end < num_words else math.inf
                if min(left, right) > best_context:
                    best, best_context = index, min(left, right)
        chosen.append(best)
    return chosen


@st.composite
def window_lists(draw, post=0):
    """Any windows without gaps, not only those that the splitter makes."""
    windows = [Window(post, 0, draw(st.integers(1, 12)))]
    for _ in range(draw(st.integers(0, 6))):
        _, start, end = windows[-1]
        windows.append(Window(post, draw(st.integers(start + 1, end)), end + draw(st.integers(1, 8))))
    return windows


@settings(max_examples=600, deadline=None)
@given(window_lists())
def test_each_word_is_read_where_it_has_the_most_context(windows):
    assert choose_window(windows).tolist() == most_context(windows)


def test_choosing_by_hand():
    # Words 2 and 3 lie in both. 2 is one word from the first's end and on the second's border, 3 the other way round.
    assert choose_window([Window(0, 0, 4), Window(0, 2, 6)]).tolist() == [0, 0, 0, 1, 1, 1]
    # Three shared words: the middle one is a tie, which the earlier window wins.
    assert choose_window([Window(5, 0, 5), Window(5, 2, 7)]).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert choose_window([Window(0, 0, 3)]).tolist() == [0, 0, 0]


def test_merging_by_hand():
    # Row 0: post 1, words 1 to 3. Row 1: post 0, one word. Row 2: post 1, words 0 to 2 (ends exclusive: 4, 1, 3).
    windows = [Window(1, 1, 4), Window(0, 0, 1), Window(1, 0, 3)]
    word_mask = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 1, 0, 0], [1, 0, 1, 1, 0]], dtype=torch.bool)
    scores = torch.arange(15.0).reshape(3, 5, 1) * torch.tensor([1.0, -1.0])
    merged, tag_mask = merge_windows(scores, word_mask, windows)
    # Post 1: words 0 and 1 from row 2 (1 is inside there and on row 0's border), 2 from row 0, since it is on row 2's
    # border and inside row 0, 3 from row 0. Row 2's words stand at positions 10, 12, 13; row 0's at 1, 2, 4.
    expected = torch.tensor([[7.0, 0.0, 0.0, 0.0], [10.0, 12.0, 2.0, 4.0]])
    assert tag_mask.tolist() == [[True, False, False, False], [True, True, True, True]]
    assert torch.equal(merged, expected[..., None] * torch.tensor([1.0, -1.0]))


@st.composite
def batches(draw):
    posts = draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=5))
    windows = [window for post in range(len(posts)) for window in draw(window_lists(post))]
    return draw(st.permutations(windows)), draw(st.integers(0, 2**31))


@settings(max_examples=300, deadline=None)
@given(batches())
def test_scores_that_depend_on_the_word_alone_come_back_exactly(batch):
    windows, seed = batch
    generator = torch.Generator().manual_seed(seed)
    length = max(window.end - window.start for window in windows) + 5
    num_posts = max(window.post for window in windows) + 1
    truth = [torch.randn(max(w.end for w in windows if w.post == p), 3, generator=generator) for p in range(num_posts)]

    scores = torch.full((len(windows), length, 3), math.nan)  # what is not a word must never be read
    word_mask = torch.zeros(len(windows), length, dtype=torch.bool)
    for row, (post, start, end) in enumerate(windows):
        positions = torch.randperm(length, generator=generator)[: end - start].sort().values
        word_mask[row, positions] = True
        scores[row, positions] = truth[post][start:end]

    merged, tag_mask = merge_windows(scores, word_mask, windows)
    assert torch.equal(merged, torch.nn.utils.rnn.pad_sequence(truth, batch_first=True))
    assert tag_mask.sum(dim=1).tolist() == [len(words) for words in truth]
    assert torch.equal(tag_mask, tag_mask.sort(dim=1, descending=True).values)  # left-aligned


def test_words_come_from_their_chosen_windows():
    windows = split_into_windows([1] * 50, capacity=12, overlap=5)
    length = 14
    rows = torch.arange(float(len(windows)))[:, None, None].expand(-1, length, 1)
    word_mask = torch.tensor([[0 < t <= w.end - w.start for t in range(length)] for w in windows])
    merged, _ = merge_windows(rows, word_mask, windows)
    assert merged[0, :, 0].tolist() == choose_window(windows).tolist() == most_context(windows)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_single_windows_are_only_left_aligned(dtype):
    scores = torch.arange(24).reshape(2, 4, 3).to(dtype)
    word_mask = torch.tensor([[False, True, False, True], [False, True, True, True]])
    merged, tag_mask = merge_windows(scores, word_mask, [Window(0, 0, 2), Window(1, 0, 3)])
    assert merged.dtype == dtype
    assert tag_mask.tolist() == [[True, True, False], [True, True, True]]
    assert torch.equal(merged[0, :2], scores[0, [1, 3]])
    assert torch.equal(merged[1], scores[1, 1:])
    assert (merged[0, 2] == 0).all()


def test_gradient_flows_to_the_chosen_positions_only():
    scores = torch.randn(2, 3, 2, requires_grad=True)
    word_mask = torch.ones(2, 3, dtype=torch.bool)
    merged, _ = merge_windows(scores, word_mask, [Window(0, 0, 3), Window(0, 2, 5)])
    merged.sum().backward()
    assert scores.grad[..., 0].tolist() == [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]


def merge_ones(windows, counts):
    mask = torch.arange(6) < torch.tensor(counts)[:, None]
    return merge_windows(torch.ones(len(counts), 6, 2), mask, windows)


@pytest.mark.parametrize(
    ("windows", "counts", "message"),
    [
        ([Window(0, 0, 2)], [2, 2], "2 rows of scores for 1 windows"),
        ([], [], "No windows"),
        ([Window(0, 0, 2), Window(1, 0, 3)], [2, 2], r"Row 1 has 2 words .* \(post 1, words 0 to 3\) has 3"),
        ([Window(0, 0, 2), Window(0, 3, 5)], [2, 2], "Post 0: words 2 to 3 .* in no window"),
        ([Window(0, 0, 2), Window(1, 1, 3)], [2, 2], "Post 1: words 0 to 1 .* in no window"),
        ([Window(0, 0, 2), Window(2, 0, 2)], [2, 2], "Post 1 has no window, though post 2 has"),
        ([Window(10**12, 0, 2)], [2], "Post 0 has no window"),
        ([Window(0, 0, 2), Window(0, 0, 2)], [2, 2], r"Post 0: window \(0, 2\) does not go beyond \(0, 2\)"),
        ([Window(0, 0, 4), Window(0, 1, 3)], [4, 2], r"window \(1, 3\) does not go beyond \(0, 4\)"),
        ([Window(0, 0, 4), Window(0, 1, 4)], [4, 3], r"window \(1, 4\) does not go beyond \(0, 4\)"),
        ([Window(0, 0, 0)], [0], r"Window 0 is \(0, 0, 0\)"),
        ([Window(-1, 0, 1)], [1], r"Window 0 is \(-1, 0, 1\)"),
    ],
)
def test_rows_and_windows_that_disagree_are_refused(windows, counts, message):
    with pytest.raises(ValueError, match=message):
        merge_ones(windows, counts)


def test_shapes_that_disagree_are_refused():
    mask = torch.ones(1, 3, dtype=torch.bool)
    wrong = [(torch.ones(1, 3), mask), (torch.ones(1, 4, 2), mask), (torch.ones(1, 3, 2), mask.long())]
    for scores, word_mask in wrong:
        with pytest.raises(ValueError, match=r"Expected `scores` \(R, T, C\) and a bool `word_mask`"):
            merge_windows(scores, word_mask, [Window(0, 0, 3)])


def test_choosing_refuses_several_posts_and_disorder():
    with pytest.raises(ValueError, match=r"windows of one post, got those of posts \[0, 1\]"):
        choose_window([Window(0, 0, 2), Window(1, 0, 2)])
    with pytest.raises(ValueError, match="from left to right"):
        choose_window([Window(0, 1, 4), Window(0, 0, 2)])

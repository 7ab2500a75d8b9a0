import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_iqcr.words import find_words, to_sub_tokens, to_words

MASK = torch.tensor([[0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]).bool()


def test_words_are_left_aligned_in_their_order():
    positions = find_words(MASK)
    assert positions.tag_mask.sum(1).tolist() == [3, 0, 6, 1]
    assert positions.tag_mask[0].tolist() == [True, True, True, False, False, False]
    values = torch.arange(24).reshape(4, 6)
    assert to_words(values, positions)[0, :3].tolist() == [1, 3, 4]
    assert to_words(values, positions)[3, :1].tolist() == [23]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12).flatmap(lambda t: st.lists(st.lists(st.booleans(), min_size=t, max_size=t), min_size=1)))
def test_any_mask_goes_to_words_and_back(rows):
    mask = torch.tensor(rows)
    values = torch.arange(mask.numel()).reshape(mask.shape)
    scores = torch.stack([values, -values], dim=-1).float()  # (B, T, 2)
    positions = find_words(mask)
    words = to_words(values, positions)
    for post, row in enumerate(rows):
        expected = [value for value, is_word in zip(values[post].tolist(), row, strict=True) if is_word]
        assert words[post, : len(expected)].tolist() == expected
        assert positions.tag_mask[post].tolist() == [True] * len(expected) + [False] * (len(row) - len(expected))
    assert torch.equal(to_words(scores, positions), torch.stack([words, -words], dim=-1).float())
    assert torch.equal(to_sub_tokens(words, positions), values)


def test_gradient_goes_back_to_each_words_own_position():
    scores = torch.zeros(4, 6, 2, requires_grad=True)
    positions = find_words(MASK)
    weights = torch.arange(1.0, 7.0)[None, :, None] * positions.tag_mask[..., None]  # the k-th word counts k
    (to_words(scores, positions) * weights).sum().backward()
    assert scores.grad[0, :, 0].tolist() == [0, 1, 0, 2, 3, 0]
    assert not scores.grad[1].any()

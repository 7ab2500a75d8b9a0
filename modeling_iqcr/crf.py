"""The linear-chain CRF over words (Eq. 12 and 13): likelihood, Viterbi decoding, marginals, entity probabilities.

Longer than most files, because all four are readings of the same two tables and belong side by side.

Inside, every table is time-major with the posts last, ``(W, C, B)``: a step of the chain then reduces over the first
dimension of a small tensor, which on a CPU is several times faster than over the last.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from transformers import initialization as init


class AllowedTransitions(NamedTuple):
    """Which steps decoding may take.

    Attributes:
        start: ``True`` for a tag that may be a post's first, ``(C,)``, bool.
        transitions: ``True`` where tag j may follow tag i, ``(C, C)`` as ``[i, j]``, bool.
    """

    start: torch.Tensor
    transitions: torch.Tensor


def bio_transitions(labels: Sequence[str]) -> AllowedTransitions | None:
    """Build the steps that BIO allows: I-X only after B-X or I-X, and never first.

    Args:
        labels: The label names in the order of their ids: ``O``, ``B-<type>`` and ``I-<type>``.

    Returns:
        The allowed steps, on the CPU; ``None`` if some label is not BIO (another scheme, or names like ``LABEL_0``),
        or if a type has an I- label but no B- label, since its entities could then never be predicted.
    """
    for label in labels:
        prefix, _, entity_type = label.partition("-")
        begins = prefix == "B" and entity_type != ""
        continues = prefix == "I" and f"B-{entity_type}" in labels
        if not (label == "O" or begins or continues):
            return None
    start = [label[0] != "I" for label in labels]
    transitions = [[label[0] != "I" or previous[1:] == label[1:] for label in labels] for previous in labels]
    # The device is named because a model may be built under `torch.device("meta")`, where tensors have no values.
    return AllowedTransitions(torch.tensor(start, device="cpu"), torch.tensor(transitions, device="cpu"))


def _as_written(method: Callable) -> Callable:
    """Run a method in the dtypes that `LinearChainCRF` promises, under autocast too, and never under a compiler.

    `torch.compile` would unroll the loop over the words, and compile the whole model again for every length.
    """

    @torch.compiler.disable
    @functools.wraps(method)
    def run(self, emissions, *args, **kwargs):
        with torch.autocast(emissions.device.type, enabled=False):
            return method(self, emissions, *args, **kwargs)

    return run


class LinearChainCRF(nn.Module):
    """A linear-chain CRF, or with `learn_transitions=False` the softmax head as the CRF whose transitions are all 0.

    Holds for all methods: emissions are finite scores; half precision is raised to float32, float32 and float64 stay,
    under autocast too. The mask is left-aligned: the words of a post come first, its padding after them (not checked,
    for a check would wait for the device). A post may have no word. Nothing off the mask is ever read; it may hold any
    value, NaN included.

    Args:
        num_tags: C, the number of tags, at least 1.
        learn_transitions: Whether neighbouring tags influence each other. If not, there are no parameters and each
            word stands alone: the log-likelihood is minus the cross-entropy of the softmax.

    Attributes:
        start_transitions: Score of each tag as a post's first, ``(C,)``; ``None`` without learned transitions.
        end_transitions: Score of each tag as a post's last, ``(C,)``; likewise.
        transitions: Score of the step from tag i to tag j, ``(C, C)`` as ``[i, j]``; likewise.

    Source:
        Lafferty, McCallum and Pereira, "Conditional random fields", ICML 2001; IQCR-MI, Eq. 12 and 13. Eq. 13 prints
        the log-likelihood and calls it the loss; the loss is its negative.
    """

    def __init__(self, num_tags: int, learn_transitions: bool = True):
        super().__init__()
        if num_tags < 1:
            raise ValueError(f"`num_tags` must be at least 1, got {num_tags}.")
        self.num_tags = num_tags
        shapes = {
            "start_transitions": (num_tags,),
            "end_transitions": (num_tags,),
            "transitions": (num_tags, num_tags),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)) if learn_transitions else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all transition scores from the uniform distribution on [-0.1, 0.1]."""
        for parameter in self.parameters():
            init.uniform_(parameter, -0.1, 0.1)

    def extra_repr(self) -> str:
        """Name the arguments when the module is printed."""
        return f"num_tags={self.num_tags}, learn_transitions={self.transitions is not None}"

    @_as_written
    def log_likelihood(self, emissions: torch.Tensor, tags: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute the log-likelihood of the gold tags (Eq. 12); the loss of Eq. 13 is the negative of its sum.

        Steps that BIO forbids are not excluded, so a gold path that contains one has a finite log-likelihood. The
        gradient can be taken once, not twice. Does not wait for the device.

        Args:
            emissions: Scores of the tags, ``(B, W, C)``.
            tags: Gold tags in ``[0, C)``, anything off the mask, ``(B, W)``, long.
            mask: Real words, left-aligned, ``(B, W)``, bool.

        Returns:
            The log-likelihood of each post, at most 0, ``(B,)``. A post without words has 0.

        Raises:
            ValueError: If the shapes do not fit together, or `mask` is not bool.
        """
        self._check(emissions, mask)
        if tags.shape != mask.shape:
            raise ValueError(f"`tags` must have the shape of `mask` {tuple(mask.shape)}, got {tuple(tags.shape)}.")
        emissions, mask = _time_major(emissions, mask)
        start, transitions, end = self._scores(emissions)

        tags = tags.T.masked_fill(~mask, 0)  # (W, B)
        last_tags = tags.gather(0, _reversal(mask)[:1])[0]
        emitted = emissions.gather(1, tags[:, None])[:, 0]
        moved = transitions[tags[:-1], tags[1:]]  # (W - 1, B)
        path_score = start[tags[0]] + emitted.where(mask, 0).sum(0) + moved.where(mask[1:], 0).sum(0) + end[last_tags]

        log_likelihood = path_score - _LogNormalizer.apply(emissions, start, transitions, end, mask)
        return log_likelihood.where(mask[0], 0)

    @torch.no_grad()
    @_as_written
    def decode(
        self, emissions: torch.Tensor, mask: torch.Tensor, allowed_transitions: AllowedTransitions | None = None
    ) -> torch.Tensor:
        """Find the most probable tag sequence of each post (Viterbi).

        Does not wait for the device. Of equally good predecessors the one with the smaller id is taken.

        Args:
            emissions: Scores of the tags, ``(B, W, C)``.
            mask: Real words, left-aligned, ``(B, W)``, bool.
            allowed_transitions: The only steps that may be taken, for instance `bio_transitions(labels)`; ``None``
                allows all. They must leave a way through a post of any length.

        Returns:
            The tags, -100 off the mask, ``(B, W)``, long.

        Raises:
            ValueError: If the shapes do not fit together, or `mask` is not bool.
        """
        self._check(emissions, mask)
        emissions, mask = _time_major(emissions, mask)
        start, transitions, end = self._scores(emissions)
        if allowed_transitions is not None:
            start = self._forbid(start, allowed_transitions.start)
            transitions = self._forbid(transitions, allowed_transitions.transitions)

        # A step over padding stays where it is, so that all posts end, and are walked back from, at the last position.
        stay = torch.full_like(transitions, -torch.inf).fill_diagonal_(0)
        steps = transitions.unsqueeze(2) + emissions[1:].unsqueeze(1)
        paths = torch.where(mask[1:, None, None], steps, stay.unsqueeze(2))  # (W - 1, C, C, B)

        # score[j]: the best path that ends at this word in tag j. A maximum without its index is about twice as fast:
        # paths are added up in place, and all back-pointers, where each was a word before, are found at once.
        score = start[:, None] + emissions[0]
        for path in paths.unbind(0):
            score = path.add_(score.unsqueeze(1)).amax(dim=0)
        tags = [(score + end[:, None]).argmax(dim=0, keepdim=True)]  # (1, B) each
        for back_pointer in reversed(paths.max(dim=1).indices.unbind(0)):
            tags.append(back_pointer.gather(0, tags[-1]))
        return torch.cat(tags[::-1]).where(mask, -100).T.contiguous()

    @torch.no_grad()
    @_as_written
    def marginals(self, emissions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute the posterior probability of each tag at each word (forward-backward); carries no gradient.

        Args:
            emissions: Scores of the tags, ``(B, W, C)``.
            mask: Real words, left-aligned, ``(B, W)``, bool.

        Returns:
            Probabilities that sum to 1 over the tags of a real word, 0 off the mask, ``(B, W, C)``.

        Raises:
            ValueError: If the shapes do not fit together, or `mask` is not bool.
        """
        self._check(emissions, mask)
        emissions, mask = _time_major(emissions, mask)
        alpha, beta = _forward_backward(emissions, *self._scores(emissions), mask)
        return _posteriors(emissions, alpha, beta, mask).permute(2, 0, 1).contiguous()

    @torch.no_grad()
    @_as_written
    def entity_log_probability(
        self,
        emissions: torch.Tensor,
        mask: torch.Tensor,
        spans: torch.Tensor,
        begin_tags: torch.Tensor,
        inside_tags: torch.Tensor,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """Compute how probable it is that exactly these words carry exactly this entity; carries no gradient.

        Sums over all tag sequences whose lenient reading (conlleval, seqeval's default) contains the entity: it begins
        at B-X, or at an I-X that follows neither B-X nor I-X, goes on with I-X, and the next tag is not I-X.

        Args:
            emissions: Scores of the tags, ``(B, W, C)``.
            mask: Real words, left-aligned, ``(B, W)``, bool.
            spans: Post, first word, and the word after the last one, of each entity, ``(K, 3)``, long.
            begin_tags: The B- tag of each entity's type, -1 if the label set has none, ``(K,)``, long.
            inside_tags: Likewise the I- tag, ``(K,)``, long. Without one an entity of several words has probability 0.
            temperature: All scores are divided by it, above 0: more than 1 makes every probability less sure of
                itself.

        Returns:
            Log-probabilities, at most 0, ``(K,)``.

        Raises:
            ValueError: If the shapes do not fit together, a span is empty or leaves its post, or an entity has no tag.
        """
        self._check(emissions, mask)
        self._check_entities(mask, spans, begin_tags, inside_tags)
        emissions, mask = _time_major(emissions, mask)
        emissions = emissions / temperature
        start, transitions, end = (scores / temperature for scores in self._scores(emissions))
        alpha, beta = _forward_backward(emissions, start, transitions, end, mask)
        tag_ids = torch.arange(self.num_tags, device=emissions.device)
        words = torch.arange(len(emissions), device=emissions.device)[:, None]
        posts, first, after = spans.unbind(1)
        # Two rows, because the entity's first word is either B-X or I-X. A tag that the set lacks is tag 0 here, so
        # that it can be an index, and is ruled out below.
        first_tags = torch.stack([begin_tags, inside_tags]).clamp(min=0)  # (2, K)
        begin, inside = first_tags

        # All that comes before, and the first word. I-X opens an entity only after a tag of another kind.
        before = alpha[(first - 1).clamp(min=0), :, posts] + transitions[:, inside].T  # (K, C)
        before = before.masked_fill((tag_ids == begin_tags[:, None]) | (tag_ids == inside_tags[:, None]), -torch.inf)
        before = before.logsumexp(dim=1).where(first > 0, start[inside])
        opening = torch.stack([alpha[first, begin, posts], before + emissions[first, inside, posts]])
        opening[0].masked_fill_(begin_tags < 0, -torch.inf)
        opening[1].masked_fill_(inside_tags < 0, -torch.inf)

        # All that comes after, given the tag of the entity's last word. The next tag is not I-X.
        following = beta[after.clamp(max=len(emissions) - 1), :, posts]  # (K, C)
        following = following.masked_fill(tag_ids == inside_tags[:, None], -torch.inf)
        closing = (transitions[first_tags] + following).logsumexp(dim=2)  # (2, K)
        closing = closing.where(after < mask.sum(0)[posts], end[first_tags])

        # An entity of several words goes on with I-X, and its last word is I-X.
        emitted = emissions[:, inside, posts].where((first < words) & (words < after), 0).sum(0)
        moved = transitions[first_tags, inside] + (after - first - 2) * transitions[inside, inside]
        going_on = (moved + emitted + closing[1]).masked_fill(inside_tags < 0, -torch.inf)

        joint = (opening + going_on.where(after - first > 1, closing)).logsumexp(dim=0)
        return (joint - _log_normalizer(emissions, alpha, beta)[posts]).clamp(max=0)

    def _scores(self, emissions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give the start, step and end scores in the dtype of the (raised) emissions; zeros for the softmax head."""
        if self.transitions is None:
            zeros = emissions.new_zeros(self.num_tags, self.num_tags)
            return zeros[0], zeros, zeros[0]
        scores = (self.start_transitions, self.transitions, self.end_transitions)
        return tuple(score.to(emissions.dtype) for score in scores)

    @staticmethod
    def _forbid(scores: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Set the scores of all that is not allowed to -inf, which no finite emission can outweigh."""
        if allowed.shape != scores.shape or allowed.dtype != torch.bool:
            raise ValueError(
                f"`allowed_transitions` must be bool and fit {scores.shape[0]} tags: expected the shape "
                f"{tuple(scores.shape)}, got {tuple(allowed.shape)} of {allowed.dtype}."
            )
        # Towards a GPU the copy need not be waited for; from one it must be.
        return scores.masked_fill(~allowed.to(scores.device, non_blocking=scores.is_cuda), -torch.inf)

    def _check(self, emissions: torch.Tensor, mask: torch.Tensor) -> None:
        """Refuse emissions and a mask that do not fit the module and each other."""
        if emissions.dim() != 3 or emissions.shape[2] != self.num_tags or emissions.shape[1] == 0:
            raise ValueError(
                f"`emissions` must be (B, W, {self.num_tags}) with W at least 1, got {tuple(emissions.shape)}. "
                "Pad a batch of posts without words to one word."
            )
        if mask.shape != emissions.shape[:2] or mask.dtype != torch.bool:
            raise ValueError(
                f"`mask` must be bool with the shape {tuple(emissions.shape[:2])} of the words in `emissions`, "
                f"got {tuple(mask.shape)} of {mask.dtype}."
            )

    def _check_entities(
        self, mask: torch.Tensor, spans: torch.Tensor, begin_tags: torch.Tensor, inside_tags: torch.Tensor
    ) -> None:
        """Refuse entities that are not in their post or have no tag, by name; this waits for the device."""
        num_entities = len(spans)
        if spans.shape != (num_entities, 3) or not (begin_tags.shape == inside_tags.shape == (num_entities,)):
            raise ValueError(
                "`spans` must be (K, 3), `begin_tags` and `inside_tags` (K,), "
                f"got {tuple(spans.shape)}, {tuple(begin_tags.shape)} and {tuple(inside_tags.shape)}."
            )
        num_words = mask.sum(1).tolist()
        rows = zip(spans.tolist(), begin_tags.tolist(), inside_tags.tolist(), strict=True)
        for index, ((post, first, after), begin, inside) in enumerate(rows):
            if not 0 <= post < len(num_words):
                raise ValueError(f"Entity {index}: there is no post {post} in a batch of {len(num_words)}.")
            if not 0 <= first < after <= num_words[post]:
                raise ValueError(
                    f"Entity {index}: words {first} to {after} (end exclusive) are no span of post {post}, "
                    f"which has {num_words[post]} words."
                )
            if begin == inside or not (-1 <= begin < self.num_tags and -1 <= inside < self.num_tags):
                raise ValueError(
                    f"Entity {index}: begin tag {begin} and inside tag {inside} must be two different tags below "
                    f"{self.num_tags}, one of them may be -1 for none."
                )


class _LogNormalizer(torch.autograd.Function):
    """The normaliser of Eq. 12 in the log domain, ``(B,)``.

    Its derivative by a score is the probability that a tag sequence uses that score. Forward-backward gives all of
    them at once, which is several times faster than a graph that remembers every step of the chain.
    """

    @staticmethod
    def forward(ctx, emissions, start, transitions, end, mask):
        alpha, beta = _forward_backward(emissions, start, transitions, end, mask)
        log_normalizer = _log_normalizer(emissions, alpha, beta)
        ctx.save_for_backward(emissions, transitions, mask, alpha, beta, log_normalizer)
        return log_normalizer

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled():  # only under `create_graph=True`, where this would pass for a constant
            raise RuntimeError(
                "The CRF's log-likelihood can be differentiated once, not twice: drop `create_graph=True`."
            )
        emissions, transitions, mask, alpha, beta, log_normalizer = ctx.saved_tensors
        tag_grad = grad * _posteriors(emissions, alpha, beta, mask)  # (W, C, B)
        if not any(ctx.needs_input_grad[1:4]):
            return tag_grad, None, None, None, None
        # In place, for this is the largest tensor here by far: the probability of each step, (W - 1, C, C, B).
        pairs = (alpha[:-1] - log_normalizer).unsqueeze(2) + beta[1:].unsqueeze(1)
        pairs = pairs.add_(transitions.unsqueeze(2)).exp_().masked_fill_(~mask[1:, None, None], 0)
        last_words = _reversal(mask)[:1, None].expand(1, *emissions.shape[1:])
        last_grad = tag_grad.gather(0, last_words)[0]
        return tag_grad, tag_grad[0].sum(-1), (grad * pairs.sum(0)).sum(-1), last_grad.sum(-1), None


def _time_major(emissions: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring emissions to ``(W, C, B)``, at least float32, normalised at each word; the mask to ``(W, B)``."""
    emissions = emissions.to(torch.promote_types(emissions.dtype, torch.float32)).permute(1, 2, 0).contiguous()
    # A constant added to all tags of a word changes no probability, so none passes gradient. This one keeps the sums
    # over a long post small, where float32 is precise.
    return emissions - emissions.detach().logsumexp(dim=1, keepdim=True), mask.T.contiguous()


def _reversal(mask: torch.Tensor) -> torch.Tensor:
    """For each position give the one that takes its place when the words of a post are reversed, ``(W, B)``.

    Real words change places with real words and padding with padding; reversing twice restores the order. Row 0 is
    each post's last word.
    """
    positions = torch.arange(len(mask), device=mask.device)[:, None]
    return (mask.sum(0) - 1 - positions) % len(mask)


def _forward_backward(
    emissions: torch.Tensor, start: torch.Tensor, transitions: torch.Tensor, end: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum the scores of all beginnings and all endings of a path, in the log domain.

    Returns:
        `alpha` sums over the paths that end at a word in a tag, `beta` over those that begin there; both include the
        word's own emission, ``(W, C, B)`` each, and mean nothing off the mask.
    """
    num_posts = emissions.shape[2]
    reversal = _reversal(mask)[:, None].expand_as(emissions)
    # Endings are the beginnings of the reversed post, so one loop serves both: 2B posts, the second half reversed.
    emissions = torch.cat([emissions, emissions.gather(0, reversal)], dim=2)  # (W, C, 2B)
    first = torch.stack([start, end], dim=1).repeat_interleave(num_posts, dim=1)  # (C, 2B)
    transitions = torch.stack([transitions, transitions.T], dim=2).repeat_interleave(num_posts, dim=2)  # (C, C, 2B)
    sums = [first + emissions[0]]
    for emission in emissions[1:].unbind(0):
        paths = sums[-1].unsqueeze(1) + transitions  # (C, C, 2B)
        # A log-sum-exp in place: torch.logsumexp takes half as long again, for infinities that cannot occur here.
        highest = paths.amax(dim=0)
        sums.append(paths.sub_(highest).exp_().sum(dim=0).log_().add_(highest).add_(emission))
    alpha, beta = torch.stack(sums).chunk(2, dim=2)
    return alpha, beta.gather(0, reversal)


def _log_normalizer(emissions: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """Sum over the tags of the first word, which both tables have counted, ``(B,)``."""
    return (alpha[0] + beta[0] - emissions[0]).logsumexp(dim=0)


def _posteriors(emissions: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Give the probability of each tag at each word, 0 off the mask, ``(W, C, B)``."""
    return (alpha + beta - emissions).softmax(dim=1).where(mask[:, None], 0)

"""Posts to entities in one call: the ``multimodal-ner`` pipeline of transformers.

It lies beside the model because the model's configuration names it, and travels with it. It imports nothing of the
processor or the model: what it needs of them, it asks of the two objects that it holds.
"""

import inspect
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset
from transformers import BatchFeature, Pipeline
from transformers.pipelines.pt_utils import PipelineDataset, PipelineIterator

from .pipeline_posts import SCORES, check_post, item, make_answer, post_name, without_image


@dataclass
class _Batch:
    """Posts on their way to the model. No dict or tuple: the base class would take those to pieces."""

    posts: list[dict[str, Any]]
    inputs: BatchFeature | None  # None if no post has a word
    windows: list[tuple[int, int, int]]  # apart from `inputs`, which forgets its attributes between two processes


class _Numbered(Dataset):
    """Anything with a length and items, each item with its number: an error should say which post it was."""

    def __init__(self, posts):
        self.posts = posts

    def __len__(self) -> int:
        return len(self.posts)

    def __getitem__(self, number: int) -> tuple[int, Any]:
        return number, self.posts[number]


class MultimodalNERPipeline(Pipeline):
    """Find the entities of posts with pictures.

    Made by ``pipeline("multimodal-ner", model=..., trust_remote_code=True)``.

    Args:
        model: A tagger of words with a CRF head, such as `IQCRForTokenClassification`.
        processor: Its processor.
        kwargs: Defaults for the arguments of `__call__`, and what every pipeline takes.

    Example:
        ```python
        ner = pipeline("multimodal-ner", model="me/iqcr-mi", trust_remote_code=True)
        ner({"text": "Washington wins again", "images": ["capitol.jpg", "stadium.jpg"]})
        ```
    """

    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_video_processor = False

    def __init__(self, model, processor=None, **kwargs):
        if processor is None:
            raise ValueError(
                "This pipeline needs a `processor`, and found none beside the model. Save it there "
                "(`processor.save_pretrained`), or pass one."
            )
        self._unavailable: set[str] = set()  # scorers that could not be had: asked for once, not for every post
        self._proven: set[str] = set()  # those that gave scores before: if they fail now, it is this post alone
        self._wanted = set(inspect.signature(model.forward).parameters)
        super().__init__(model=model, processor=processor, **kwargs)

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Save model and processor, with every file that loading them and this pipeline needs."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def __call__(self, inputs, **kwargs):
        """Find the entities of one post or of many.

        Args:
            inputs: A post, a list of posts, an iterator over them, or a data set of `datasets` or torch. A post is its
                text alone, or a mapping with

                - ``text``, a string that is split into words as the corpora are, or ``words`` (``tokens``), a list;
                - ``images``: a list of paths, bytes, PIL images or arrays; may be left out;
                - ``quality_scores`` in ``[0, 1]`` and ``relevance_scores`` in ``[-1, 1]``: one per picture, ``None``
                  for a missing one. Left out, they are computed by the scorers that the processor names; where these
                  cannot be had, the mean of the training data stands in, with one warning;
                - ``id``, by which errors call the post.

                Other columns are passed over in a row with ``tokens``, and an error elsewhere.
            kwargs: ``threshold``: leave out entities with a lower score, in ``[0, 1]``, default 0. ``compute_scores``:
                ``False`` takes scores that are not given for missing. ``allow_urls``: ``True`` downloads pictures that
                are given by their address. ``batch_size``: posts that go through the model together, with any numbers
                of pictures. ``num_workers``: processes that read pictures.

        Returns:
            For each post a dict with

            - ``text``: its text; of words these joined by spaces;
            - ``entities``: for each ``entity_group`` (its type), ``word``, ``start`` and ``end`` with
              ``text[start:end] == word``, and ``score``: the probability, under all tag sequences, that exactly these
              words carry exactly this entity;
            - ``images``: for each picture its ``quality`` and ``relevance`` (``None``: missing), its ``weight``
              (Eq. 7) and its ``gate`` (Eq. 8) (``None``: the model did not look at it).

            A list of them for a list, an iterator for an iterator or a data set.

        Raises:
            ValueError: If a post has another form, a score is out of its range, or a picture cannot be read.
        """
        if isinstance(inputs, list) and not inputs:
            return []
        if not isinstance(inputs, str | Mapping | list | Dataset):
            if isinstance(inputs, Sized) and hasattr(inputs, "__getitem__"):  # a data set of `datasets`
                inputs = _Numbered(inputs)
            elif isinstance(inputs, Iterable):
                inputs = (post for post in inputs)
        return super().__call__(inputs, **kwargs)

    def explain(self, posts, **kwargs):
        """Say which picture decided an entity: its probability under all pictures, and with each one left out.

        Args:
            posts: A post, or several in any form that `__call__` takes. Each post is one batch.
            kwargs: ``threshold``, ``compute_scores`` and ``allow_urls`` as in `__call__`.

        Returns:
            As `__call__`, a list for several posts. Each entity also has ``score_without``: its probability if the
            model does not see a picture, one number per picture, ``None`` for a picture that it did not look at in any
            case; and ``decided_by``: the
            number of the picture without which the model would not find this entity, the one with the lowest
            ``score_without`` if there are several; ``None`` if it finds it without any one of them.

        Raises:
            ValueError: As `__call__`.
        """
        if isinstance(posts, str | Mapping) or not isinstance(posts, Iterable):
            return self._explain(posts, kwargs)
        return [self._explain((number, post), kwargs) for number, post in enumerate(posts)]

    def _explain(self, post, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        preprocess, _, postprocess = self._sanitize_parameters(**kwargs)
        prepared = self.preprocess(post, **(self._preprocess_params | preprocess))
        num_seen = len(prepared["rows"][0]["pixel_bytes"]) if prepared["rows"] else 0
        variants = [prepared, *(without_image(prepared, image) for image in range(num_seen))]
        output = self.forward(self._collate(variants), compare=True)
        answer, *others = output["answers"]
        for number, entity in enumerate(answer["entities"]):
            without = [probabilities[number] for probabilities in output["probabilities"][1:]]
            lost = [image for image, other in enumerate(others) if not _finds(other, entity)]
            entity["score_without"] = without + [None] * (len(answer["images"]) - num_seen)
            entity["decided_by"] = min(lost, key=without.__getitem__, default=None)
        return self.postprocess({"answers": answer}, **(self._postprocess_params | postprocess))

    def _sanitize_parameters(self, **kwargs):
        preprocess = {name: kwargs.pop(name) for name in ("compute_scores", "allow_urls") if name in kwargs}
        postprocess = {name: kwargs.pop(name) for name in ("threshold",) if name in kwargs}
        threshold = postprocess.get("threshold", 0)
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` must be a number in [0, 1], got {threshold!r}.")
        if kwargs:
            known = "threshold, compute_scores and allow_urls, and to tag posts also batch_size and num_workers"
            raise TypeError(f"The pipeline takes no {', '.join(map(repr, kwargs))} here. It takes {known}.")
        return preprocess, {}, postprocess

    def get_iterator(self, inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params):
        """The answers one by one: as in the base class, with the processor's padding and a number for each post."""
        if isinstance(inputs, Sized):
            inputs = inputs if isinstance(inputs, _Numbered) else _Numbered(inputs)
            posts = PipelineDataset(inputs, self.preprocess, preprocess_params)
        else:
            posts = PipelineIterator(enumerate(inputs), self.preprocess, preprocess_params)
            num_workers = min(num_workers, 1)  # a second one would go through the same posts again
        loader = DataLoader(posts, batch_size=batch_size, num_workers=num_workers, collate_fn=self._collate)
        answers = PipelineIterator(loader, self.forward, forward_params, loader_batch_size=batch_size)
        return PipelineIterator(answers, self.postprocess, postprocess_params)

    def run_single(self, inputs, preprocess_params, forward_params, postprocess_params):
        """The answer for one post."""
        batch = self._collate([self.preprocess(inputs, **preprocess_params)])
        return self.postprocess(self.forward(batch, **forward_params), **postprocess_params)

    def preprocess(self, post, compute_scores: bool = True, allow_urls: bool = False) -> dict[str, Any]:
        """Read one post.

        Args:
            post: As in `__call__`, or a pair of its number and it.
            compute_scores: As in `__call__`.
            allow_urls: As in `__call__`.

        Returns:
            ``text``; ``spans``, start and end of each word; ``images``, what is known of each picture; ``rows`` for
            the processor's `pad`, none if there is no word.

        Raises:
            ValueError: As `__call__`.
        """
        number, post = post if isinstance(post, tuple) else (None, post)
        post = {"text": post} if isinstance(post, str) else post
        name = post_name(post, number)
        words, images = check_post(post, name)
        text, located = self.processor.locate_words(text=post.get("text"), words=words, name=name)
        words = [word.text for word in located]
        scores = {kind: post.get(kind) for kind in SCORES}
        if getattr(self.model.config, "use_images", True):
            seen = self.processor.load_images(images[: self.processor.max_images], name=name, allow_urls=allow_urls)
            images = [*seen, *images[len(seen) :]]
            for kind, given in scores.items():
                if given is None and compute_scores and seen:
                    scores[kind] = self._compute_scores(kind, words, seen, len(images), name)
            rows = self.processor.encode_post(words, images, **scores, name=name) if words else []
        else:
            rows = self.processor.encode_post(words, name=name) if words else []
        known = [
            {answer: item(scores[kind], image) for kind, (_, _, answer) in SCORES.items()}
            for image in range(len(images))
        ]
        return {"text": text, "spans": [(word.start, word.end) for word in located], "images": known, "rows": rows}

    def _compute_scores(self, kind: str, words, images, num_images: int, name: str) -> list[float | None] | None:
        """The scores of a post's pictures by the processor's scorer, ``None`` if that cannot be had."""
        scorer, switch, _ = SCORES[kind]
        if scorer in self._unavailable or not getattr(self.model.config, switch, False):
            return None
        scores = self.processor.try_scores(scorer, words, images, name=name)
        if scores is None:
            self._unavailable |= {scorer} - self._proven
            return None
        self._proven.add(scorer)
        return scores + [None] * (num_images - len(scores))

    def _collate(self, posts: list[dict[str, Any]]) -> _Batch:
        """A batch of what `preprocess` gave."""
        with_words = [post["rows"] for post in posts if post["rows"]]
        rows = [row | {"post": number} for number, of_post in enumerate(with_words) for row in of_post]
        with_images = getattr(self.model.config, "use_images", True)
        if not rows:
            return _Batch(posts, None, [])
        inputs = self.processor.pad(rows, with_images=with_images, packed=True)
        return _Batch(posts, inputs, inputs.windows)

    def _forward(self, batch: _Batch, compare: bool = False) -> dict[str, list]:
        """The answer for each post.

        Args:
            batch: The posts.
            compare: Give also the probabilities of the first post's entities in every post: they are one post with
                different pictures.

        Returns:
            ``answers``, one per post, and with `compare` ``probabilities``, one list per post.
        """
        probabilities = [[] for _ in batch.posts]
        if batch.inputs is None:
            return {"answers": [make_answer(post) for post in batch.posts], "probabilities": probabilities}
        inputs = batch.inputs.to(self.device)
        inputs.windows = batch.windows
        if "pixel_values" in inputs:
            inputs["pixel_values"] = self.processor.normalize_pixels(inputs["pixel_values"])
        outputs = self.model(**{name: tensor for name, tensor in inputs.items() if name in self._wanted})
        predictions = self.processor.post_process_entities(self.model, outputs, inputs)
        if compare:
            entities = [predictions[0].entities] * len(predictions)
            probabilities = self.processor.score_entities(self.model, outputs, inputs, entities)
        first_row = {window.post: row for row, window in reversed(list(enumerate(inputs.windows)))}
        # a post of several windows shows the weights and gates of the first
        of_images = {
            name: outputs[tensor].float().tolist()
            for name, tensor in (("weight", "image_weights"), ("gate", "image_gates"))
            if outputs.get(tensor) is not None
        }
        answers, number = [], 0
        for post in batch.posts:
            if not post["rows"]:
                answers.append(make_answer(post))
                continue
            row = first_row[number]
            seen = {name: values[row][: len(post["rows"][0]["pixel_bytes"])] for name, values in of_images.items()}
            answers.append(make_answer(post, predictions[number], **seen))
            number += 1
        return {"answers": answers, "probabilities": probabilities}

    def postprocess(self, model_outputs: Mapping[str, Any], threshold: float = 0.0) -> dict[str, Any]:
        """One post's answer, without the entities below `threshold`."""
        answer = model_outputs["answers"]
        (answer,) = answer if isinstance(answer, list) else (answer,)  # a batch of one is not taken apart
        return answer | {"entities": [entity for entity in answer["entities"] if entity["score"] >= threshold]}


def _finds(answer: dict[str, Any], entity: dict[str, Any]) -> bool:
    """Whether an answer has this entity, with whatever probability."""
    keys = ("entity_group", "start", "end")
    return any(all(found[key] == entity[key] for key in keys) for found in answer["entities"])

"""Tiny scorers for the demo, trained on single pictures: a CLIP model for relevance, a small network for quality."""

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from datasets.utils import tqdm
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from dataset_scripts.features import ENTITY_TYPES
from dataset_scripts.pictured_posts_generator import PicturedPostsDials, generate_posts
from dataset_scripts.pictured_posts_pictures import SPOILT_KINDS, draw_picture
from dataset_scripts.pictured_posts_text import draw_sentence
from processing_iqcr import load_image
from processing_iqcr.relevance_scorer import relevance_text
from processing_iqcr.scorer_files import file_sha256
from processing_iqcr.scorers import Scorer, register_quality_scorer

# Half of the pictures are spoilt, but to judge a picture's relevance nobody needs to know which.
KINDS = ("clear", "clear", "clear", *SPOILT_KINDS)
PICTURE_SIZE = 128
BATCH_SIZE = 32

# A picture is compared with a text by its colour, which 32 pixels show. What costs disk space is the tokenizer's
# vocabulary of 49,408, hence the narrow text tower.
MODEL_CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "head_width": 16, "layers": 2},
    "text_cfg": {"context_length": 32, "width": 32, "heads": 4, "layers": 1},
    # Not learned as in CLIP, where so short a training leaves it at its start of 14. It decides how far the cosines of
    # a right and a wrong colour come apart: 0.9 at 14, 0.1 to 0.6 at 50, 0.04 to 0.3 at 100, which is where CLIP ends.
    # To beta = 20 the first is a certainty, and the last at times next to nothing.
    "init_logit_scale": math.log(50),
}

# What the network is to answer. With 1 and 0, alpha = 10 would leave no weight to a picture that it mistakes.
CLEAR_QUALITY, SPOILT_QUALITY = 0.8, 0.3
QUALITY_FILE = "demo_quality.safetensors"
# Pixels in one forward pass, which bounds the memory.
_PIXELS_PER_PASS = 64 * PICTURE_SIZE**2


def save_relevance_model(folder: Path, seed: int, num_pairs: int = 1024, num_epochs: int = 5) -> dict[str, float]:
    """Train a small CLIP model on pairs of a caption and a picture in its colour, and save it as open_clip does.

    It is told which picture belongs to which caption and nothing else, neither the colour nor what is spoilt.

    Args:
        folder: Where to; nothing else may be in it. `RelevanceScorer` takes it.
        seed: Of the pairs and the weights. The pairs are of no corpus.
        num_pairs: Pairs to learn from.
        num_epochs: Times that each is seen.

    Returns:
        The mean cosine of new pairs, in ``[-1, 1]``: ``relevant``, of one colour, and ``irrelevant``, of two.

    Raises:
        ImportError: If open_clip is not installed.
    """
    try:
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2
    except ImportError as error:
        raise ImportError("A relevance model needs open_clip: pip install 'iqcr-mi[scoring]'.") from error

    torch.manual_seed(seed)
    preprocess_config = PreprocessCfg(size=MODEL_CONFIG["vision_cfg"]["image_size"])
    preprocess = image_transform_v2(preprocess_config, is_train=False)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL_CONFIG["text_cfg"]["context_length"])
    model = open_clip.CLIP(**MODEL_CONFIG)
    model.logit_scale.requires_grad_(False)
    input_ids, pixels, _ = _pairs(tokenizer, preprocess, seed, num_pairs)
    # Two pairs of one colour in a batch count as mismatches too, and that does no harm: the loss asks how much
    # likelier a picture is beside a text than elsewhere, and the answer is the same for all of the colour.
    loss = open_clip.ClipLoss()
    _train(model, lambda rows: loss(*model(pixels[rows], input_ids[rows])), num_pairs, num_epochs, seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": MODEL_CONFIG, "preprocess_cfg": asdict(preprocess_config)}
    Path(folder, "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    input_ids, pixels, colours = _pairs(tokenizer, preprocess, seed + 1, 200)
    with torch.no_grad():
        image_states, text_states, _ = model(pixels, input_ids)
    cosines = (text_states @ image_states.T).numpy()  # (texts, pictures)
    same = colours[:, None] == colours
    return {"relevant": float(cosines[same].mean()), "irrelevant": float(cosines[~same].mean())}


def save_quality_network(folder: Path, seed: int, num_pictures: int = 768, num_epochs: int = 10) -> dict[str, float]:
    """Train a small convolutional network to tell clear pictures from spoilt ones, and save it.

    Args:
        folder: Where to; `DemoQuality` takes it.
        seed: Of the pictures and the weights. The pictures are of no corpus.
        num_pictures: Pictures to learn from.
        num_epochs: Times that each is seen.

    Returns:
        The mean quality of new pictures of each kind, in ``[0, 1]``: ``clear`` and the spoilt ones.
    """
    torch.manual_seed(seed)
    pixels, kinds = _quality_pictures(seed, num_pictures)
    targets = torch.where(torch.from_numpy(kinds == "clear"), CLEAR_QUALITY, SPOILT_QUALITY)
    network = QualityNetwork()
    loss = nn.functional.binary_cross_entropy_with_logits
    _train(network, lambda rows: loss(network(_crop(pixels[rows])), targets[rows]), num_pictures, num_epochs, seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / QUALITY_FILE)
    pixels, kinds = _quality_pictures(seed + 1, 240)
    with torch.no_grad():
        scores = torch.cat([network(part) for part in pixels.split(60)]).sigmoid().numpy()
    return {kind: float(scores[kinds == kind].mean()) for kind in dict.fromkeys(KINDS)}


class QualityNetwork(nn.Module):
    """Three convolutions, and the mean over the picture of what they find: any size will do."""

    def __init__(self):
        super().__init__()
        layers = []
        # Blur shows in fine grain that is 2 % of the range: without a norm after it the first layer is slow to see it.
        for num_inputs, num_outputs in ((3, 16), (16, 32), (32, 32)):
            convolution = nn.Conv2d(num_inputs, num_outputs, kernel_size=3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(num_outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(32, 1, kernel_size=1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logit of the quality, ``(pictures,)``, of RGB as 8-bit values, ``(pictures, 3, H, W)``."""
        return self.layers(pixels.float() / 127.5 - 1).mean(dim=(1, 2, 3))


class DemoQuality:
    """The quality of pictures by the network that `save_quality_network` left.

    The network is loaded with the first picture. It runs on the CPU, for which it is small enough.

    Args:
        folder: The folder that it was saved to; an error if it holds none.
    """

    def __init__(self, folder: Path):
        self.weights = Path(folder, QUALITY_FILE)
        self.version = file_sha256(self.weights)[:16]

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image]) -> list[float]:
        """Score pictures.

        Args:
            images: RGB pictures of any sizes, at their own resolution.

        Returns:
            One quality in ``[0, 1]`` per picture, higher better.
        """
        scores = [0.0] * len(images)
        for positions in _batches_of_one_size(images):
            pixels = torch.stack([_to_pixels(images[position]) for position in positions])
            for position, score in zip(positions, self._network(pixels).sigmoid().tolist(), strict=True):
                scores[position] = score
        return scores

    @cached_property
    def _network(self) -> QualityNetwork:
        network = QualityNetwork()
        network.load_state_dict(load_file(self.weights))
        return network.eval()


def register_demo_quality(folder: Path) -> None:
    """Make `DemoQuality` of a folder known as the quality scorer ``demo-quality``.

    Args:
        folder: The folder that `save_quality_network` saved to.
    """
    scorer = DemoQuality(folder)
    register_quality_scorer("demo-quality", scorer, version=scorer.version)


def measure_scorers(quality: Scorer, relevance: Scorer, seed: int, num_posts: int) -> dict[str, float]:
    """Measure on the test posts of pictured-posts how well two scorers tell the kinds of pictures apart.

    Args:
        quality: Takes pictures, gives one number for each, higher better.
        relevance: Takes texts and as many pictures, gives one number for each pair, higher more relevant.
        seed: Of the posts.
        num_posts: How many; a hundred or more have pictures of all kinds.

    Returns:
        Numbers in ``[0, 1]``, NaN where there is no such picture. Areas under the ROC curve: ``quality_dark``,
        ``quality_blurred`` and ``quality_noisy``, for clear pictures against these, and ``relevance``, for relevant
        pictures against irrelevant ones, all over all posts. ``quality_in_post`` and ``relevance_in_post``: the share
        of the posts with a spoilt, or an irrelevant, picture in which the right one scores higher than each of them.
    """
    posts = list(generate_posts(PicturedPostsDials(seed=seed), "test", num_posts))
    images = [load_image(image) for post in posts for image in post["images"]]
    texts = [relevance_text(post["tokens"]) for post in posts for _ in post["images"]]
    kinds = np.array([kind for post in posts for kind in post["picture_kinds"]])
    post_ids = np.array([post["id"] for post in posts for _ in post["images"]])
    qualities, relevances = np.array(quality(images)), np.array(relevance(texts, images))
    right, irrelevant, spoilt = kinds == "right", kinds == "irrelevant", np.isin(kinds, SPOILT_KINDS)
    measured = {f"quality_{kind}": _auc(qualities[~spoilt], qualities[kinds == kind]) for kind in SPOILT_KINDS}
    measured["relevance"] = _auc(relevances[~irrelevant], relevances[irrelevant])
    measured["quality_in_post"] = _share_of_posts(qualities, right, spoilt, post_ids)
    measured["relevance_in_post"] = _share_of_posts(relevances, right, irrelevant, post_ids)
    return measured


def _auc(higher: np.ndarray, lower: np.ndarray) -> float:
    """The share of all pairs in which the first is above the second, a tie counting half."""
    if not len(higher) or not len(lower):
        return math.nan
    return float(1 + np.sign(higher[:, None] - lower).mean()) / 2


def _share_of_posts(scores: np.ndarray, right: np.ndarray, wrong: np.ndarray, post_ids: np.ndarray) -> float:
    """The share of the posts with a wrong picture in which the right one is above all of these."""
    of_right = dict(zip(post_ids[right], scores[right], strict=True))
    wins = [of_right[post] > scores[wrong & (post_ids == post)].max() for post in np.unique(post_ids[wrong])]
    return float(np.mean(wins)) if wins else math.nan


def _train(model: nn.Module, loss_of: Callable, num_items: int, num_epochs: int, seed: int) -> None:
    """Train on what `loss_of` makes of the numbers of some items, and leave the model ready to score."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters)
    num_batches = num_items // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=num_epochs * num_batches)
    # One thread is fast enough, minds no other program, and gives the same weights whatever the number of cores.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model.train()
    for _ in tqdm(range(num_epochs), desc=f"Training {type(model).__name__}"):
        for rows in torch.randperm(num_items, generator=generator).split(BATCH_SIZE)[:num_batches]:
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
    model.eval()
    torch.set_num_threads(num_threads)


def _pairs(tokenizer, preprocess, seed: int, number: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Captions ``(number, T)``, a picture for each ``(number, 3, H, W)`` float32, and their colours ``(number,)``."""
    rng = np.random.default_rng([seed, 11])
    texts, images, colours = [], [], []
    for _ in tqdm(range(number), desc="Drawing captioned pictures"):
        sentence = draw_sentence(rng)
        kind = KINDS[rng.integers(len(KINDS))]
        texts.append(relevance_text(sentence.words))
        images.append(preprocess(_draw(rng, sentence.colour, kind)))
        colours.append(sentence.colour)
    return tokenizer(texts), torch.stack(images), np.array(colours)


def _quality_pictures(seed: int, number: int) -> tuple[torch.Tensor, np.ndarray]:
    """Pictures ``(number, 3, H, W)`` uint8, and their kinds ``(number,)``."""
    rng = np.random.default_rng([seed, 12])
    kinds = [KINDS[rng.integers(len(KINDS))] for _ in range(number)]
    drawn = tqdm(kinds, desc="Drawing clear and spoilt pictures")
    return torch.stack([_to_pixels(_draw(rng, draw_sentence(rng).colour, kind)) for kind in drawn]), np.array(kinds)


def _draw(rng: np.random.Generator, colour: str, kind: str) -> Image.Image:
    """A picture of something of any type."""
    entity_type = ENTITY_TYPES[rng.integers(len(ENTITY_TYPES))]
    return Image.open(io.BytesIO(draw_picture(rng, entity_type, colour, kind, PICTURE_SIZE)))


def _crop(pixels: torch.Tensor) -> torch.Tensor:
    """A random quarter, the same of all: it shows the quality as well, and costs a quarter of the time."""
    height, width = pixels.shape[-2] // 2, pixels.shape[-1] // 2
    top, left = torch.randint(height, (2,)).tolist()
    return pixels[..., top : top + height, left : left + width]


def _to_pixels(image: Image.Image) -> torch.Tensor:
    """An RGB picture as ``(3, H, W)``, uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _batches_of_one_size(images: Sequence[Image.Image]) -> Iterator[list[int]]:
    """Positions of pictures of one size, of no more than `_PIXELS_PER_PASS` pixels unless it is one alone."""
    for width, height in dict.fromkeys(image.size for image in images):
        positions = [position for position, image in enumerate(images) if image.size == (width, height)]
        step = max(1, _PIXELS_PER_PASS // (width * height))
        yield from (positions[start : start + step] for start in range(0, len(positions), step))

"""What does tagging cost? Beside the two bare encoders, and with the scoring of a post's pictures, from end to end.

    python benchmarks/inference.py [--rounds 5] [--without_scoring] [--output benchmarks/results/inference.json]

IQCR-MI with RoBERTa-base and ViT-base-patch16 (random weights, which change no time) on posts of the shape of
MNER-MI-Plus, decoding included, scores given: batches of 4 on a CPU, of 64 on a GPU (in bfloat16), and single posts on
both. The floor is the two encoders alone on as many real sub-tokens and the real pictures. From end to end a post of
two photographs goes through the pipeline, its pictures scored by MANIQA (20 crops) and CLIP, of the extra [scoring].
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import torch  # noqa: E402

from benchmarks.measuring import (  # noqa: E402
    add_model_type,
    devices,
    in_turn,
    make_parser,
    median_ms,
    ratio,
    show_ratio,
    wait_for,
    write_figures,
)
from benchmarks.plus_shaped import BareEncoders, make_batch, make_tagger, typical_batches  # noqa: E402
from benchmarks.row_loading import make_processor  # noqa: E402
from mner_training.model_types import IQCR  # noqa: E402
from modeling_iqcr.pipeline_iqcr import MultimodalNERPipeline  # noqa: E402
from processing_iqcr.scorers import register_quality_scorer, register_relevance_scorer  # noqa: E402

SIZES = {"cpu": (4, 1), "cuda": (64, 1)}  # posts of a batch
TEXT = "Kevin Durant signs autographs at the Coffee Lab in San Francisco before the game tonight"


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, "inference")
    parser.add_argument("--rounds", type=int, default=5, help="measurements, each of another batch (default: 5)")
    parser.add_argument("--without_scoring", action="store_true", help="leave out MANIQA, a minute on a CPU")
    add_model_type(parser)
    options = parser.parse_args()
    figures = {"scores_given": [], "end_to_end": {}}
    for device in devices():
        model = make_tagger(options.tiny, options.model_type).to(device).eval()
        if device == "cuda":
            model.to(torch.bfloat16)
        for num_posts in SIZES[device]:
            figures["scores_given"].append(compare(model, device, num_posts, options.rounds))
        if not options.without_scoring and options.model_type == IQCR:  # nobody else reads scores
            figures["end_to_end"][device] = measure_end_to_end(model, device)
    write_figures(options, figures, "transformers", "pyiqa", "open_clip_torch")


def compare(model, device: str, num_posts: int, rounds: int) -> dict:
    """Measure the tagger and the bare encoders, on another batch in each round."""
    encoders = BareEncoders(model)
    chosen = typical_batches(num_posts, rounds + 1)
    batches = [make_batch(shapes, model, device, seed) for seed, shapes in enumerate(chosen)]
    for batch in batches:
        del batch["labels"]
    turns = {name: iter(batches) for name in ("ours", "bare")}

    @torch.inference_mode()
    def ours() -> None:
        model(**next(turns["ours"]))

    @torch.inference_mode()
    def bare() -> None:
        encoders(next(turns["bare"]))

    seconds = in_turn({"ours": ours, "bare": bare}, device, rounds)
    found = ratio(seconds, "ours", "bare")
    pictures = [len(batch.get("pixel_values", ())) for batch in batches[1:]]
    print(
        f"Scores given, {device}, batch of {num_posts}: ours {median_ms(seconds['ours']):.1f} ms, bare encoders "
        f"{median_ms(seconds['bare']):.1f} ms, ratio {show_ratio(found)}",
        flush=True,
    )
    return {"device": device, "posts": num_posts, "pictures": pictures, "seconds": seconds, "over_bare": found}


def measure_end_to_end(model, device: str) -> dict | None:
    """One post with two photographs through the pipeline, its parts by name, in seconds."""
    try:
        import open_clip

        from benchmarks.scoring import photographs, save_random_weights, to_jpeg
        from processing_iqcr.quality_scorer import QualityScorer
        from processing_iqcr.relevance_scorer import RelevanceScorer
    except ImportError as error:
        print(f"End to end: not run, {error}")
        return None
    parts = {"quality (MANIQA, 20 crops)": 0.0, "relevance (CLIP ViT-B/32)": 0.0, "model with decoding": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.pt")
        torch.save(open_clip.create_model("ViT-B-32-quickgelu").state_dict(), clip)
        maniqa = save_random_weights(Path(folder, "maniqa.pt"))
        quality = QualityScorer(weights=maniqa, num_crops=20, device=device)
        relevance = RelevanceScorer("ViT-B-32-quickgelu", str(clip), device=device)
        timed = Timed(parts, device)
        register_quality_scorer("timed", timed("quality (MANIQA, 20 crops)", quality), "1")
        register_relevance_scorer("timed", timed("relevance (CLIP ViT-B/32)", relevance), "1")
        processor = make_processor(model.config.vision_config.image_size)
        processor.quality_scorer = processor.relevance_scorer = {"name": "timed"}
        pipeline = MultimodalNERPipeline(model=model, processor=processor, device=device)
        # the networks are loaded, and all is warm; a small picture has one crop of its own
        small = [picture.resize((32, 32)) for picture in photographs()[:2]]
        pipeline({"text": TEXT, "images": small})
        post = {"text": TEXT, "images": [to_jpeg(picture) for picture in photographs()[:2]]}
        model.forward = timed("model with decoding", model.forward)
        parts.update(dict.fromkeys(parts, 0.0))
        started = time.perf_counter()
        pipeline(post)
        wait_for(device)
        total = time.perf_counter() - started
        del model.forward
    parts["reading, resizing, tokens, answer"] = total - sum(parts.values())
    print(f"End to end, {device}, one post with 2 photographs of 640 x 427: {total:.2f} s")
    for name, seconds in parts.items():
        print(f"    {name:<36}{seconds:>9.3f} s {seconds / total:>7.1%}", flush=True)
    return {"seconds": total, "parts": parts}


class Timed:
    """Count what calls take into parts."""

    def __init__(self, parts: dict[str, float], device: str):
        self.parts = parts
        self.device = device

    def __call__(self, name: str, run: Callable) -> Callable:
        """The same callable, its time counted into the part of this name."""

        def timed_run(*args, **kwargs):
            wait_for(self.device)
            started = time.perf_counter()
            result = run(*args, **kwargs)
            wait_for(self.device)
            self.parts[name] += time.perf_counter() - started
            return result

        return timed_run


if __name__ == "__main__":
    main()

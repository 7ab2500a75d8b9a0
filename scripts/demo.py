"""``make demo``: generate posts with pictures, score these, train IQCR-MI and two twins, print their scores."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import run_mner  # noqa: E402
from dataset_scripts.corpus_build import build_once  # noqa: E402
from dataset_scripts.pictured_posts import PicturedPosts  # noqa: E402
from dataset_scripts.pictured_posts_generator import PicturedPostsDials  # noqa: E402
from dataset_scripts.pictured_posts_pictures import SPOILT_KINDS  # noqa: E402
from mner_training.corpus_loading import load_folder  # noqa: E402
from processing_iqcr.scorers import make_scorer  # noqa: E402
from scripts import score_images  # noqa: E402
from scripts.demo_backbones import save_text_backbone, save_vision_backbone  # noqa: E402
from scripts.demo_scorers import (  # noqa: E402
    measure_scorers,
    register_demo_quality,
    save_quality_network,
    save_relevance_model,
)

NUM_POSTS = {"train": 4000, "validation": 500, "test": 1000}
RECIPE = str(ROOT / "recipes" / "quickstart.json")
# What each system changes in the recipe's model.
SYSTEMS = {
    "IQCR-MI": {},
    "equal weights": {"use_quality": False, "use_relevance": False, "use_gate": False},
    "text only": {"use_images": False},
}


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the posts and of the training (default: 0)")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/demo"), help="(default: runs/demo)")
    parser.add_argument(
        "--prepare_only",
        action="store_true",
        help="train no tagger; score the posts into output_dir/scored_posts, for recipes/compare/pictured_posts.json",
    )
    arguments = parser.parse_args()
    output, seed = arguments.output_dir, arguments.seed
    started = time.monotonic()

    print("1. Posts: short texts whose names are ambiguous, each with one to four pictures of which one is right.")
    posts = output / "posts"
    dials = PicturedPostsDials(seed=seed)
    build_once(PicturedPosts(dials=dials, num_posts=NUM_POSTS, planted_scores=False), posts)

    print("\n2. Backbones: a text encoder without any training, a vision encoder that learns single pictures.")
    save_text_backbone(output / "text_backbone", _training_words(posts), seed)
    right = save_vision_backbone(output / "vision_backbone", seed)
    print(f"It names the shape of {right['shape']:.0%} and the colour of {right['colour']:.0%} of new clear pictures.")

    print("\n3. Scorers: one learns which pictures are spoilt, one which picture belongs to which caption.")
    save_quality_network(output / "quality_network", seed)
    save_relevance_model(output / "relevance_model", seed)
    register_demo_quality(output / "quality_network")
    _show_scorers(output, seed)
    if arguments.prepare_only:
        _write_scored_posts(output, posts)
        return

    rows = []
    for number, (system, changes) in enumerate(SYSTEMS.items(), start=4):
        print(f"\n{number}. {system}")
        folder = output / system.lower().replace(" ", "_").replace("-", "_")
        rows.append((system, _train(output, posts, folder, changes, seed), folder))
    print("\n7. IQCR-MI again, on the same test posts without their pictures")
    folder = output / "iqcr_mi_no_pictures"
    rows.append(("IQCR-MI, no pictures", _predict_without_pictures(posts, output / "iqcr_mi", folder), folder))

    print(f"\nTest posts: {NUM_POSTS['test']}. Seed {seed}. {time.monotonic() - started:.0f} s in all.\n")
    print(f"{'system':<22}{'precision':>10}{'recall':>8}{'F1':>7}   files")
    for system, scores, folder in rows:
        values = [100 * scores[f"test_{name}"] for name in ("precision", "recall", "f1")]
        print(f"{system:<22}{values[0]:>10.2f}{values[1]:>8.2f}{values[2]:>7.2f}   {folder}")
    table = {system: scores for system, scores, _ in rows}
    Path(output, "scores.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    print("\nEach folder holds all_results.json and predictions.jsonl, those of the systems a checkpoint too.")
    print(f"All scores: {output / 'scores.json'}")


def _training_words(posts: Path) -> list[str]:
    """The words of the training split."""
    train = load_folder(posts)["train"].select_columns("tokens")
    return [word for post in train for word in post["tokens"]]


def _show_scorers(output: Path, seed: int) -> None:
    """Print how well the scorers tell pictures apart."""
    specs = {"quality_scorer": "demo-quality", "relevance_scorer": str(output / "relevance_model")}
    measured = measure_scorers(*(make_scorer(kind, spec) for kind, spec in specs.items()), seed, num_posts=300)
    kinds = ", ".join(f"{kind} {measured[f'quality_{kind}']:.3f}" for kind in SPOILT_KINDS)
    print(f"Area under the curve, 1 at best: clear against {kinds}; relevant against irrelevant", end=" ")
    print(f"{measured['relevance']:.3f}.")


def _write_scored_posts(output: Path, posts: Path) -> None:
    """Write the posts with the scores of their pictures, anew if a folder is there: the scorers are new, too."""
    scored = output / "scored_posts"
    if scored.exists():
        shutil.rmtree(scored)
    relevance, cache = str(output / "relevance_model"), str(output / "scores.sqlite")
    arguments = ["--dataset", str(posts), "--relevance_scorer", relevance, "--score_cache", cache]
    score_images.main([RECIPE, *arguments, "--output_dir", str(scored)])


def _train(output: Path, posts: Path, folder: Path, changes: dict, seed: int) -> dict[str, float]:
    """Train one system by the recipe and score it on the test posts."""
    return run_mner.main(
        [
            RECIPE,
            "--dataset",
            str(posts),
            "--text_backbone",
            str(output / "text_backbone"),
            "--vision_backbone",
            str(output / "vision_backbone"),
            "--model_config",
            json.dumps(changes),
            "--relevance_scorer",
            str(output / "relevance_model"),
            "--score_cache",
            str(output / "scores.sqlite"),
            "--output_dir",
            str(folder),
            "--overwrite_output_dir",
            "--seed",
            str(seed),
        ]
    )


def _predict_without_pictures(posts: Path, checkpoint: Path, folder: Path) -> dict[str, float]:
    """Score a checkpoint on the test posts with their pictures taken away."""
    test = load_folder(posts)["test"]
    bare = test.remove_columns(["images", "picture_kinds"])
    folder.mkdir(parents=True, exist_ok=True)
    bare.to_parquet(folder / "posts" / "test.parquet")
    arguments = [
        "--model_name_or_path",
        str(checkpoint),
        "--dataset",
        str(folder / "posts"),
        "--do_predict",
        "--use_cpu",
    ]
    return run_mner.main([*arguments, "--per_device_eval_batch_size", "64", "--output_dir", str(folder)])


if __name__ == "__main__":
    main()

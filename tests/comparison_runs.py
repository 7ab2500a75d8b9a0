"""Output folders of comparisons without a training: systems that err at known rates on generated posts."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mner_training.metrics import NERMetric, flatten_scores
from processing_iqcr.entities import tags_to_entities

TYPES = ("PER", "LOC", "ORG")
WORDS = ("Paris", "Jordan", "Acme", "Rio", "Kim", "runs", "to", "the", "old", "town")


def write_comparison(
    folder: Path,
    systems: dict[str, dict],
    seeds: Sequence[int] = (1, 2, 3),
    datasets: Sequence[str] = ("posts",),
    reference: str | None = None,
    num_posts: int = 60,
) -> Path:
    """Write what `scripts/compare_systems.py` leaves before its table.

    Args:
        folder: The output folder.
        systems: By name ``errors`` (share of words whose tag is drawn anew), ``seeds`` that are done (all), and
            ``published``, ``not_run``, ``text_only``, ``control`` as in a recipe.
        seeds: The seeds that are planned.
        datasets: Names of data sets.
        reference: A system, by default the first.
        num_posts: Posts of each data set.

    Returns:
        The folder.
    """
    entries = []
    for number, (name, system) in enumerate(systems.items()):
        entry = {"name": name, "folder": f"system-{number}", "published": system.get("published", {})}
        entries.append(entry | {"not_run": system.get("not_run")})
    content = {
        "schema": "iqcr-mi/comparison/1",
        "name": "A comparison",
        "reference": reference or next(iter(systems)),
        "seeds": list(seeds),
        "datasets": list(datasets),
        "systems": entries,
    }
    write(folder / "comparison.json", content)
    for dataset in datasets:
        posts = make_posts(num_posts, sum(map(ord, dataset)))
        surfaces = {
            (" ".join(post["words"][start:end]), kind)
            for post in posts[: num_posts // 4]
            for start, end, kind in tags_to_entities(post["gold_tags"])
        }
        write(folder / dataset / "training_entities.json", sorted(map(list, surfaces)))
        for entry, system in zip(entries, systems.values(), strict=True):
            for seed in [] if system.get("not_run") else system.get("seeds", seeds):
                write_run(folder / dataset / entry["folder"] / f"seed-{seed}", posts, system, seed)
    return folder


def make_posts(number: int, seed: int) -> list[dict]:
    """Posts with gold tags and pictures: 0 to 5 of them, every seventh post without scores."""
    generator = np.random.default_rng(seed)
    posts = []
    for post in range(number):
        words = generator.choice(WORDS, size=int(generator.integers(3, 12))).tolist()
        images = [
            {
                "name": f"{post}_{image}.jpg",
                "quality": None if post % 7 == 0 else float(generator.random()),
                "relevance": None if post % 7 == 0 else float(generator.uniform(-0.2, 0.5)),
                "weight": None,
                "gate": None,
            }
            for image in range(int(generator.integers(6)))
        ]
        tags = draw_tags(len(words), generator)
        posts.append({"id": f"p{post}", "words": words, "gold_tags": tags, "images": images})
    return posts


def draw_tags(number: int, generator: np.random.Generator) -> list[str]:
    """Tags of any kind, stray ones too."""
    tags = ["O", *(f"{prefix}-{kind}" for kind in TYPES for prefix in "BI")]
    return generator.choice(tags, size=number, p=[0.4, *[0.1] * 6]).tolist()


def write_run(folder: Path, posts: list[dict], system: dict, seed: int) -> None:
    """One run that is done, with the figures that the package's metric gives it."""
    generator = np.random.default_rng(1000 * seed + int(1000 * system["errors"]))
    lines = []
    for post in posts:
        drawn = draw_tags(len(post["words"]), generator)
        wrong = generator.random(len(drawn)) < system["errors"]
        tags = [new if change else old for new, old, change in zip(drawn, post["gold_tags"], wrong, strict=True)]
        entities = [[entity._asdict() for entity in tags_to_entities(it)] for it in (post["gold_tags"], tags)]
        lines.append(
            {"schema": "iqcr-mi/predictions/1", "source": None, **post, "predicted_tags": tags}
            | {"gold": entities[0], "predicted": [entity | {"probability": 0.5} for entity in entities[1]]}
            | {"images": [] if system.get("text_only") else post["images"]}
        )
    folder.mkdir(parents=True)
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
    metrics = NERMetric().compute(
        predictions=[line["predicted_tags"] for line in lines], references=[line["gold_tags"] for line in lines]
    )
    write(folder / "all_results.json", {f"test_{name}": value for name, value in flatten_scores(metrics).items()})
    record = {"seed": seed, "arguments": {"control": system.get("control")}, "seconds": 10.0 + seed}
    record |= {"peak_memory_bytes": 2_000_000_000 + seed, "peak_gpu_memory_bytes": None, "device": "CPU"}
    write(folder / "comparison_run.json", record)


def write(path: Path, content) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")

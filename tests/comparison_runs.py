"""Comparisons without a training: output folders of systems that err at known rates, and counts of simulated ones."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import norm

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
    name: str = "A comparison",
) -> Path:
    """Write what `scripts/compare_systems.py` leaves before its table.

    Args:
        folder: The output folder.
        systems: By name ``errors`` (share of words whose tag is drawn anew), ``seeds`` that are done (all), and
            ``unstable`` (the errors are multiplied by the seed), and ``published``, ``not_run``, ``text_only``,
            ``control`` as in a recipe.
        seeds: The seeds that are planned.
        datasets: Names of data sets.
        reference: A system, by default the first.
        num_posts: Posts of each data set.
        name: Of the comparison.

    Returns:
        The folder.
    """
    entries = []
    for number, (shown, system) in enumerate(systems.items()):
        entry = {"name": shown, "folder": f"system-{number}", "published": system.get("published", {})}
        entries.append(entry | {"not_run": system.get("not_run")})
    content = {
        "schema": "iqcr-mi/comparison/1",
        "name": name,
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
                run = folder / dataset / entry["folder"] / f"seed-{seed}"
                write_run(run, posts, system, {"system": entry["name"], "dataset": dataset, "seed": seed})
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


def write_run(folder: Path, posts: list[dict], system: dict, identity: dict) -> None:
    """One run that is done, with the figures that the package's metric gives it."""
    seed = identity["seed"]
    generator = np.random.default_rng(1000 * seed + int(1000 * system["errors"]))
    lines = []
    for post in posts:
        drawn = draw_tags(len(post["words"]), generator)
        wrong = generator.random(len(drawn)) < system["errors"] * (seed if system.get("unstable") else 1)
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
    record = identity | {"arguments": {"control": system.get("control"), "seed": seed}, "seconds": 10.0 + seed}
    record |= {
        "commit": "abc",
        "versions": {"torch": "2.15"},
        "words_and_tags_sha256": {"train": "1", "validation": "2"},
    }
    record |= {"peak_memory_bytes": 2_000_000_000 + seed, "peak_gpu_memory_bytes": None, "jobs": 2, "device": "CPU"}
    write(folder / "comparison_run.json", record)
    sign(folder)


def sign(folder: Path, **changes) -> None:
    """Have the record of a run say that its predictions are those that are there, and what else is to be changed."""
    path = folder / "comparison_run.json"
    digest = hashlib.sha256((folder / "predictions.jsonl").read_bytes()).hexdigest()
    write(path, json.loads(path.read_text()) | {"predictions_sha256": digest} | changes)


def write(path: Path, content) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


class SimulatedTest:
    """A kind of test split whose systems differ by a known amount of F1.

    Whether an entity is found, and whether a word that is none is taken for one, depends on how hard it is (for all
    systems), on the system's taste (for all its runs), on the seed (for all of its words), and on the single case.

    Args:
        hard: Standard deviation of the difficulty of an entity.
        taste: Of what a system makes of one entity, whatever the seed.
        seeds: Of how good a seed is.
        case: Of what a run makes of one entity.
    """

    posts, entities = 860, 920
    found, mistaken = 0.78, 0.23

    def __init__(self, hard: float, taste: float, seeds: float, case: float = 1.0):
        self.hard, self.taste, self.seeds, self.case = hard, taste, seeds, case

    def draw(self, gaps: Sequence[float], runs: int, generator: np.random.Generator) -> list[np.ndarray]:
        """A new split and new seeds of systems with such gaps: for each its counts, ``(runs, posts, 3)``."""
        gold = generator.multinomial(self.entities, np.full(self.posts, 1 / self.posts))
        post = np.repeat(np.arange(self.posts), gold)
        spread = np.sqrt(self.hard**2 + self.taste**2 + self.seeds**2 + self.case**2)
        hard = generator.normal(0, self.hard, (2, self.entities))  # of entities, and of as many words that are none
        systems = []
        for gap in gaps:
            taste = hard + generator.normal(0, self.taste, (2, self.entities))
            counts = []
            for _ in range(runs):
                score = taste + generator.normal(0, self.case, (2, self.entities))
                better = gap + generator.normal(0, self.seeds)
                found = score[0] + better > spread * norm.ppf(1 - self.found)
                mistaken = score[1] - better > spread * norm.ppf(1 - self.mistaken)
                correct, wrong = (np.bincount(post[which], minlength=self.posts) for which in (found, mistaken))
                counts.append(np.stack([correct, correct + wrong, gold], axis=-1))
            systems.append(np.stack(counts))
        return systems

    def expected_f1(self, gap: float) -> float:
        """F1 in percent on a split without end."""
        spread = np.sqrt(self.hard**2 + self.taste**2 + self.seeds**2 + self.case**2)
        found = norm.cdf(norm.ppf(self.found) + gap / spread)
        mistaken = norm.cdf(norm.ppf(self.mistaken) - gap / spread)
        return 200 * found / (found + mistaken + 1)

"""MNER-MI's release in small, with everything that is wrong with it in large; and Twitter-2017's."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(seed: int, size: tuple[int, int] = (48, 32)) -> bytes:
    """A JPEG of noise, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def record(post_id, words: str, tags: str, images: list[str], **others) -> dict:
    return {"id": post_id, "text": words.split(), "images": images, "label": tags.split(), **others}


# What each picture's file holds; None: there is no file.
PICTURES = {
    "5302_0.jpg": jpeg(0),
    "5302_1.jpg": jpeg(1),
    "5302_2.jpg": jpeg(2),
    "5302_3.jpg": jpeg(3),
    "5302_4.jpg": jpeg(4),
    "7_0.jpg": jpeg(5)[:-2],  # the end marker is missing
    "7_1.jpg": None,
    "8_0.jpg": b"<html>404 Not Found</html>",
    "8_1.jpg": jpeg(6),
    "9_0.jpg": jpeg(7),
    "10_0.jpg": jpeg(8),
}
TWITTER_PICTURES = {"16_05_01_1.jpg": jpeg(9), "O_2.jpg": jpeg(10), "17-06_3.jpg": jpeg(11)}

MNER_MI = {
    "train": [
        record(
            5302,
            "Washington wins again !",
            "B-PER O O O",
            [f"5302_{k}.jpg" for k in range(5)],
            url="https://twitter.com/i/5302",
        ),
        record(7, "the Oscars in Los Angeles", "O B-MIS O B-LOC I-LOC", ["7_0.jpg", "7_1.jpg"], url=""),
    ],
    "val": [
        record(8, "NASA & MoMA", "B-ORG O I-MISC", ["8_0.jpg", "8_1.jpg"]),
        record("9", "in los angeles https://t.co/x", "O B-LOC I-LOC O", ["9_0.jpg"]),
    ],
    "test": [record(10, "washington wins again !", "B-PER O O O", ["10_0.jpg"])],
}
TWITTER = {
    "train": [("16_05_01_1", [("#", "O"), ("NBA", "B-ORG"), ("", "O"), ("Finals", "B-OTHER")])],
    "val": [("O_2", [("Kobe", "B-PER"), ("Bryant", "I-PER")])],
    "test": [("17-06_3", [("MoMA", "B-ORG")])],
}


def write_lines(path: Path, records: list[dict]) -> None:
    """Every other line as JSON, the others as Python literals, as the release has both."""
    lines = [json.dumps(value) if number % 2 else repr(value) for number, value in enumerate(records)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_zip(path: Path, pictures: dict[str, bytes | None], folder: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pictures.items():
            if content is not None:
                archive.writestr(f"{folder}/{name}", content)


def twitter_records(split: str) -> list[dict]:
    """Twitter-2017's posts as the MNER-UNI files have them."""
    return [
        {
            "id": list(TWITTER).index(split) + 7,  # ids that MNER-MI has as well
            "text": [word for word, _ in words],
            "images": [f"twitter2017-{post_id}.jpg"],
            "label": [tag for _, tag in words],
        }
        for post_id, words in TWITTER[split]
    ]


def write_release(folder: Path) -> Path:
    """The whole release: both corpora's texts, some pictures in folders, the others in zips."""
    for split in ("train", "val", "test"):
        write_lines(folder / "text" / f"MNER-MI_{split}.txt", MNER_MI[split])
        write_lines(folder / "text" / f"MNER-UNI_{split}.txt", MNER_MI[split] + twitter_records(split))
    (folder / "images").mkdir()
    names = sorted(PICTURES)
    for name in names[:5]:
        if PICTURES[name] is not None:
            (folder / "images" / name).write_bytes(PICTURES[name])
    write_zip(folder / "new_images.zip", {name: PICTURES[name] for name in names[5:]}, "new_images")
    write_zip(folder / "twitter2017_images.zip", TWITTER_PICTURES, "twitter2017_images")
    return folder


def write_twitter2017(folder: Path) -> Path:
    """Twitter-2017's own release."""
    (folder / "twitter2017_images").mkdir(parents=True)
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        posts = [
            "".join([f"IMGID:{i}\n", *(f"{word}\t{tag}\n" for word, tag in words)]) for i, words in TWITTER[split]
        ]
        (folder / f"{name}.txt").write_text("\n".join(posts), encoding="utf-8")
    for name, content in TWITTER_PICTURES.items():
        (folder / "twitter2017_images" / name).write_bytes(content)
    return folder

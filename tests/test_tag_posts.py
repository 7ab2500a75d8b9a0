"""scripts/tag_posts.py from files to a folder: every post once, in its order, however often the run is begun."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mner_training.lake_parts import PartCounts
from scripts import tag_posts

NUM_LINES, NUM_ROWS, PER_PART = 23, 19, 5
# The lines are 5 parts, the rows 4.
NUM_PARTS = 9


@pytest.fixture(scope="module")
def lake(make_lively_model, tiny_processor, make_posts, make_pictures, tmp_path_factory):
    """A folder with a model, pictures, and posts in two files, of which two cannot be read."""
    folder = tmp_path_factory.mktemp("lake")
    make_lively_model(3).save_pretrained(folder / "model")
    tiny_processor.save_pretrained(folder / "model")
    (folder / "pictures").mkdir()
    for number, picture in enumerate(make_pictures(4)):
        picture.save(folder / "pictures" / f"{number}.png")
    (folder / "posts").mkdir()
    lines = [
        json.dumps({"id": number, "text": "paris wins " * (number % 6 + 1), "images": [f"{number % 5}.png"]})
        for number in range(NUM_LINES)
        if number % 5 != 4  # there is no 4.png
    ]
    lines[3:3] = ['{"text": "in the'] + [""] * (NUM_LINES - len(lines) - 2) + ['{"text": "a", "images": ["4.png"]}']
    (folder / "posts" / "a.jsonl").write_text("\n".join(lines) + "\n")
    make_posts(NUM_ROWS, seed=6).to_parquet(folder / "posts" / "b.parquet")
    return folder


def run(output: Path, *flags: str, model: str = "model") -> PartCounts:
    """Run the script in the lake's folder."""
    arguments = ["posts", "--model", model, "--images_dirs", "pictures", "--output_dir", str(output)]
    return tag_posts.main([*arguments, "--posts_per_part", str(PER_PART), "--without_scores", *flags])


@pytest.fixture(scope="module")
def tagged(lake, tmp_path_factory) -> tuple[Path, PartCounts, str]:
    """The output of a run that nobody disturbed, its counts, and what it printed."""
    output = tmp_path_factory.mktemp("tagged") / "out"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.chdir(lake)
        counts = run(output)
    return output, counts, printed.getvalue()


@pytest.fixture
def output(tagged, lake, tmp_path, monkeypatch) -> Path:
    """A copy of it, and the lake's folder as the current one."""
    monkeypatch.chdir(lake)
    shutil.copytree(tagged[0], tmp_path / "out")
    return tmp_path / "out"


def read(folder) -> list[dict]:
    return pq.read_table(folder).to_pylist()


def parts(folder) -> dict[str, int]:
    """The parts, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("part-*"))}


def test_every_post_once_in_its_order(tagged, lake):
    folder, counts, printed = tagged
    rows = read(folder)
    lines = (lake / "posts" / "a.jsonl").read_text().split("\n")
    expected = [("posts/a.jsonl", number) for number, line in enumerate(lines, start=1) if line]
    expected += [("posts/b.parquet", number + 1) for number in range(NUM_ROWS)]
    assert [(row["file"], row["row"]) for row in rows] == expected
    assert [row["row"] for row in rows if row["error"] is not None] == [4, 7]
    assert rows[3]["error"].startswith("posts/a.jsonl:4: the line cannot be read as JSON")
    assert rows[4]["error"].startswith("Post 'posts/a.jsonl:7', image 0: '4.png' is in none of the image roots")
    assert len(parts(folder)) == NUM_PARTS
    assert counts == (len(rows), 2, 0)
    assert f"Tagged: {len(rows)} posts in {NUM_PARTS} parts." in printed
    assert "Of these 2 could not be read or tagged; the column `error` says why." in printed
    assert "Columns that are not read, and not in the output: ner_tags, source, url." in printed


def test_a_run_is_taken_up_where_it_was_left(tagged, output, capsys):
    for number in (0, 4, 8):
        (output / f"part-{number:06d}.parquet").unlink()
    (output / ".unfinished-part-000004.parquet-1-x").write_bytes(b"PAR1")
    kept = parts(output)
    counts = run(output)
    assert f"Taken up: {NUM_PARTS - 3} of {NUM_PARTS} parts are done." in capsys.readouterr().out
    assert {name: parts(output)[name] for name in kept} == kept
    assert read(output) == read(tagged[0])
    assert counts == tagged[1]
    assert not list(output.glob(".unfinished*"))


def test_a_run_that_is_done_needs_no_model(tagged, output, monkeypatch):
    written = parts(output)
    monkeypatch.setattr(tag_posts, "Worker", None)
    assert run(output) == tagged[1]
    assert parts(output) == written


def test_the_size_of_batches_changes_nothing_but_the_last_digits(output, tmp_path):
    run(tmp_path / "other", "--batch_size", "3")
    for row, other in zip(read(output), read(tmp_path / "other"), strict=True):
        assert (row["tags"], row["error"]) == (other["tags"], other["error"])
        scores = [entity["score"] for entity in row["entities"] or ()]
        assert scores == pytest.approx([entity["score"] for entity in other["entities"] or ()], abs=1e-5)


def test_another_model_is_refused(output, tmp_path, make_lively_model, tiny_processor):
    written = parts(output)
    make_lively_model(4).save_pretrained(tmp_path / "other")
    tiny_processor.save_pretrained(tmp_path / "other")
    with pytest.raises(FileExistsError, match="holds a tagging that differs in 'model'"):
        run(output, model=str(tmp_path / "other"))
    with pytest.raises(FileExistsError, match="differs in 'posts_per_part'"):
        run(output, "--posts_per_part", "6")
    assert parts(output) == written


def test_changed_posts_are_refused(output, lake, tmp_path, monkeypatch):
    shutil.copytree(lake, tmp_path / "lake")
    monkeypatch.chdir(tmp_path / "lake")
    assert run(output) == run(output)  # a copy, with its times, is the same lake
    with open("posts/a.jsonl", "a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(FileExistsError, match="holds a tagging that differs in 'files'"):
        run(output)


def test_workers_are_for_ray(output, capsys):
    with pytest.raises(SystemExit):
        run(output, "--workers", "2")
    assert "--workers is for --ray" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(output, "--batch_size", "0")
    assert "must be at least 1, got 0" in capsys.readouterr().err


SCORERS_FILE = """
from processing_iqcr.scorers import register_quality_scorer

register_quality_scorer("of a file", lambda images: [0.25] * len(images), version="1")
"""


@pytest.fixture
def scored_lake(lake, tmp_path, monkeypatch):
    """A copy of the lake, as the current folder, whose model names a scorer that is in a file."""
    shutil.copytree(lake, tmp_path / "lake")
    monkeypatch.chdir(tmp_path / "lake")
    config = json.loads(Path("model/processor_config.json").read_text())
    Path("model/processor_config.json").write_text(json.dumps(config | {"quality_scorer": {"name": "of a file"}}))
    Path("scorers.py").write_text(SCORERS_FILE)
    monkeypatch.setattr("processing_iqcr.scorers._registered", {})
    return tmp_path / "lake"


def run_scored(output: Path, *flags: str) -> PartCounts:
    arguments = ["posts/a.jsonl", "--model", "model", "--images_dirs", "pictures", "--output_dir", str(output)]
    return tag_posts.main([*arguments, *flags])


def qualities(output: Path) -> list[float | None]:
    return [image["quality"] for row in read(output) for image in row["images"] or ()]


def test_a_scorer_that_is_not_there_is_reported(scored_lake, tmp_path, capsys):
    counts = run_scored(tmp_path / "out")
    number = len(qualities(tmp_path / "out"))
    assert (counts.unscored, set(qualities(tmp_path / "out"))) == (number, {None})
    assert f"{number} pictures lack a score that was to be computed" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "_tagging.json").read_text())["result"]["unscored"] == number
    assert run_scored(tmp_path / "out") == counts  # also when all is done
    assert run_scored(tmp_path / "other", "--without_scores").unscored == 0


def test_scorers_of_a_file(scored_lake, tmp_path, capsys):
    counts = run_scored(tmp_path / "out", "--scorers_file", "scorers.py")
    assert (counts.unscored, set(qualities(tmp_path / "out"))) == (0, {0.25})
    assert "lack a score" not in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="holds a tagging that differs in 'scorers_file'"):
        run_scored(tmp_path / "out")
    Path("scorers.py").write_text(SCORERS_FILE.replace("0.25", "0.5"))
    with pytest.raises(FileExistsError, match="holds a tagging that differs in 'scorers_file'"):
        run_scored(tmp_path / "out", "--scorers_file", "scorers.py")


def test_a_file_of_scorers_that_cannot_be_run_ends_the_run(scored_lake, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        run_scored(tmp_path / "out", "--scorers_file", "none.py")
    Path("scorers.py").write_text("import no_such_module")
    with pytest.raises(ValueError, match=r"'scorers.py' fails with ModuleNotFoundError: No module named 'no_such"):
        run_scored(tmp_path / "out", "--scorers_file", "scorers.py")
    with pytest.raises(SystemExit):
        run_scored(tmp_path / "out", "--scorers_file", "scorers.py", "--without_scores")
    assert "--without_scores computes none" in capsys.readouterr().err

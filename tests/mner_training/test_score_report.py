import base64
import io
import json
import os
import sys
from html.parser import HTMLParser
from itertools import chain

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from mner_training import score_report
from mner_training.score_counts import PAPER_ABOVE_HALF, PAPER_HIGH, PAPER_PICTURES, collect_scores, count_shares
from mner_training.score_figure import FIGURE_DPI, FIGURE_SIZE, draw_figure
from mner_training.score_report import write_score_report

UNKNOWN = {"quality_scorer": None, "relevance_scorer": None}
SCORES = List(Value("float32"))
COLUMNS = {"id": Value("string"), "quality_scores": SCORES, "relevance_scores": SCORES}


class Page(HTMLParser):
    """What a page shows: its tables as cells, its pictures, its figures as text, and every address in it."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.figures, self.tags, self.addresses, self.words = [], [], [], [], []
        self.headings = []
        self._in_figure, self._open = False, None
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [
            (name, value) for name, value in attrs if name in ("src", "href", "srcset", "action", "data")
        ]
        self.addresses += [("event", name) for name, _ in attrs if name.startswith("on")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "figure":
            self.figures.append({"under": self.headings[-1], "text": "", "src": None})
            self._in_figure = True
        elif tag in ("h1", "h2", "h3"):
            self.headings.append("")
        elif tag == "img" and self._in_figure:
            self.figures[-1]["src"] = dict(attrs)["src"]
        self._open = tag

    def handle_endtag(self, tag):
        self._in_figure &= tag != "figure"
        self._open = None

    def handle_data(self, data):
        if self._open == "style":
            return
        self.words.append(data)
        if self._open in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self._open in ("h1", "h2", "h3"):
            self.headings[-1] += data
        if self._in_figure:
            self.figures[-1]["text"] += f"{data}\n"

    def row(self, table, label):
        """The cells of a row of the n-th table by its header: {header: cell}."""
        header, *rows = self.tables[table]
        (cells,) = [row for row in rows if row[0] == label]
        return dict(zip(header[1:], cells[1:], strict=True))

    def under(self, heading):
        return [figure for figure in self.figures if figure["under"] == heading]


COUNTS, QUALITY, PAPER, RELEVANCE, SPREAD = range(5)  # the tables of a page with both kinds of scores


def png(shade, size=(24, 16)):
    file = io.BytesIO()
    PILImage.new("RGB", size, (shade, 128, 255 - shade)).save(file, "PNG")
    return file.getvalue()


def picture(shade, size=(24, 16)):
    return {"bytes": png(shade, size), "path": f"{shade}.png"}


def make_split(rows, columns=tuple(COLUMNS)):
    """A split from rows of (pictures, quality, relevance, words)."""
    posts = [
        {
            "id": f"p{index}",
            "tokens": list(row[3]) if len(row) > 3 else ["post", str(index)],
            "images": row[0],
            "quality_scores": row[1],
            "relevance_scores": row[2],
        }
        for index, row in enumerate(rows)
    ]
    features = {"tokens": List(Value("string")), "images": List(Image(decode=False))}
    features |= {name: feature for name, feature in COLUMNS.items() if name in columns}
    return Dataset.from_list([{name: post[name] for name in features} for post in posts], features=Features(features))


def numbers(cells):
    return {name: float(cell.replace(",", "")) for name, cell in cells.items()}


@pytest.fixture(scope="module")
def hand_made():
    train = make_split(
        [
            ([picture(0), picture(1), picture(2)], [0.2, None, 0.9], [0.31, 0.22, 0.18]),
            ([picture(3)], [0.5], None),
            ([], [], []),
            ([picture(4), picture(5)], [0.8, 0.6], [None, 0.25]),
            ([picture(6), picture(7)], None, [-0.5, 0.1]),
        ]
    )
    test = make_split([([picture(8), picture(9)], [0.1, 0.35], [0.4, 0.2])])
    return {"train": train, "test": test}


@pytest.fixture(scope="module")
def page(hand_made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_score_report(folder, hand_made, UNKNOWN)
    return Page(folder / "scores.html")


def test_counts_by_split(page):
    assert page.row(COUNTS, "Posts") == {"train": "5", "test": "1", "all": "6"}
    assert page.row(COUNTS, "Posts with two or more pictures") == {"train": "3", "test": "1", "all": "4"}
    assert page.row(COUNTS, "Pictures") == {"train": "8", "test": "2", "all": "10"}
    assert page.row(COUNTS, "… with a quality score") == {"train": "5", "test": "2", "all": "7"}
    assert page.row(COUNTS, "… missing a quality score") == {"train": "3", "test": "0", "all": "3"}
    assert page.row(COUNTS, "… with a relevance score") == {"train": "6", "test": "2", "all": "8"}
    assert page.row(COUNTS, "… missing a relevance score") == {"train": "2", "test": "0", "all": "2"}


def check_summary(cells, values):
    expected = {
        "number": len(values),
        "mean": np.mean(values),
        "standard deviation": np.std(values),
        "lowest": min(values),
        "1st quartile": np.percentile(values, 25),
        "median": np.median(values),
        "3rd quartile": np.percentile(values, 75),
        "highest": max(values),
    }
    assert numbers(cells) == pytest.approx(expected, abs=0.00051)


def test_distributions_against_numpy(page):
    train_quality, test_quality = [0.2, 0.9, 0.5, 0.8, 0.6], [0.1, 0.35]
    check_summary(page.row(QUALITY, "train"), train_quality)
    check_summary(page.row(QUALITY, "test"), test_quality)
    check_summary(page.row(QUALITY, "all"), train_quality + test_quality)
    check_summary(page.row(RELEVANCE, "all"), [0.31, 0.22, 0.18, 0.25, -0.5, 0.1, 0.4, 0.2])


def test_shares_beside_the_paper(page):
    # 0.5 is not above 0.5, and 0.8 lies in 0.8 to 1
    assert page.row(PAPER, "train") == {"above 0.5": "3 of 5 (60.0 %)", "0.8 to 1": "2 of 5 (40.0 %)"}
    assert page.row(PAPER, "test") == {"above 0.5": "0 of 2 (0.0 %)", "0.8 to 1": "0 of 2 (0.0 %)"}
    paper = {"above 0.5": "5,852 of 24,022 (24.4 %)", "0.8 to 1": "1 of 24,022 (< 0.1 %)"}
    assert page.row(PAPER, "the paper, MNER-MI") == paper


def test_spread_within_posts(page):
    check_summary(page.row(SPREAD, "quality"), [0.9 - 0.2, 0.8 - 0.6, 0.35 - 0.1])
    check_summary(page.row(SPREAD, "relevance"), [0.31 - 0.18, 0.1 + 0.5, 0.4 - 0.2])


def test_paper_numbers_agree_with_its_table(data_dir):
    file = data_dir.parent / "paper" / "tables.json"
    if not file.is_file():
        pytest.skip("the paper's tables are not at hand")
    published = json.loads(file.read_text(encoding="utf-8"))["figure_3_quality_scores_percent"]
    assert published["above_50"] == PAPER_ABOVE_HALF
    assert published["above_50"] + published["below_50"] == PAPER_PICTURES
    assert published["between_80_and_100"] == PAPER_HIGH


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_of_shares_hold_in_either_precision(dtype):
    assert count_shares(np.array([0.5, 0.8, 0.7999, 1.0], dtype)) == (3, 2)
    assert count_shares(np.array([0.5, 0.8], np.float32).astype(dtype)) == (1, 1)


def test_spreads_and_counts_against_loops():
    generator = np.random.default_rng(0)
    rows = []
    for index in range(60):
        count = int(generator.integers(5))
        quality = [None if value < 0.3 else value for value in generator.random(count).round(3).tolist()]
        rows.append(([{"bytes": b"x", "path": None}] * count, None if index % 9 == 0 else quality, None))
    split = make_split(rows)
    shuffled = split.shuffle(seed=1)
    assert shuffled._indices is not None
    for posts in (split, shuffled, split.select(range(7, 40)), split.select([5, 3, 3]), split.select([])):
        scores = collect_scores({"a": posts, "b": posts})
        lengths = [len(post["images"]) for post in posts]
        known = [[q for q in post["quality_scores"] or () if q is not None] for post in posts]
        spreads = [max(values) - min(values) for values in known if len(values) > 1]
        assert scores.num_posts == {"a": len(posts), "b": len(posts)}
        assert scores.pictures_per_post("b").tolist() == [length for length in lengths if length]
        assert scores.known("quality_scores", "a").tolist() == pytest.approx(list(chain(*known)))
        assert scores.spreads("quality_scores").tolist() == pytest.approx(2 * spreads)
        places = [("a", post, number) for post, length in enumerate(lengths) for number in range(length)]
        assert [scores.place(index) for index in range(len(scores))][: len(places)] == places


def shown_scores(page, heading):
    return [float(figure["text"].split("\n")[0].split()[1]) for figure in page.under(heading)]


def test_ends_are_in_order_and_hold_each_picture_once(tmp_path):
    generator = np.random.default_rng(3)
    quality, relevance = generator.permutation(40) / 50, generator.permutation(40) / 100 - 0.2
    # Pictures 0 to 19 occur twice each, under other names
    pictures = [{**picture(index % 20 if index < 40 else index), "path": f"{index}.png"} for index in range(40)]
    rows = [(pictures[k : k + 2], quality[k : k + 2].tolist(), relevance[k : k + 2].tolist()) for k in range(0, 40, 2)]
    write_score_report(tmp_path, {"train": make_split(rows)}, UNKNOWN)
    page = Page(tmp_path / "scores.html")
    for heading, values, sign in [
        ("Best by quality", quality, -1),
        ("Worst by quality", quality, 1),
        ("Most relevant to their text", relevance, -1),
        ("Least relevant to their text", relevance, 1),
    ]:
        expected, seen = [], set()
        for index in np.argsort(sign * values):
            if index % 20 not in seen:
                seen.add(index % 20)
                expected.append(index)
        assert shown_scores(page, heading) == pytest.approx(values[expected[:8]], abs=0.00051)
        figures = page.under(heading)
        names = [f"train, post p{index // 2}, {index}.png" for index in expected[:8]]
        assert [figure["text"].split("\n")[1] for figure in figures] == names
        assert len({figure["src"] for figure in figures}) == 8


def test_pictures_of_one_score_keep_the_order_of_the_data(tmp_path):
    rows = [([picture(index)], [0.5], [0.1]) for index in range(12)]
    write_score_report(tmp_path, {"train": make_split(rows)}, UNKNOWN)
    page = Page(tmp_path / "scores.html")
    for heading in ("Best by quality", "Worst by quality"):
        assert [f["text"].split("\n")[1] for f in page.under(heading)] == [
            f"train, post p{k}, {k}.png" for k in range(8)
        ]


def test_one_picture_in_all_posts_is_read_a_bounded_number_of_times(tmp_path, monkeypatch):
    read = []
    read_image = score_report._read_image
    monkeypatch.setattr(score_report, "_read_image", lambda *args: read.append(args) or read_image(*args))
    monkeypatch.setattr(score_report, "_MOST_READ", 20)
    write_score_report(tmp_path, {"train": make_split([([picture(1)], [0.5], None)] * 100)}, UNKNOWN)
    assert len(read) == 40
    assert len(Page(tmp_path / "scores.html").under("Best by quality")) == 1


def test_only_the_pictures_shown_are_read(tmp_path, monkeypatch):
    read = []
    read_image = score_report._read_image
    monkeypatch.setattr(score_report, "_read_image", lambda *args: read.append(args) or read_image(*args))
    rows = [([picture(k)], [k / 100], [k / 100]) for k in range(100)]
    write_score_report(tmp_path, {"train": make_split(rows)}, UNKNOWN)
    assert len(read) == 32


def test_thumbnails_are_small_jpegs_of_the_right_picture(tmp_path):
    rows = [([picture(250, (900, 300))], [0.9], None), ([picture(5)], [0.1], None)]
    write_score_report(tmp_path, {"train": make_split(rows)}, UNKNOWN)
    page = Page(tmp_path / "scores.html")
    kinds = []
    for figure in page.under("Best by quality"):
        head, data = figure["src"].split(",")
        assert head == "data:image/jpeg;base64"
        with PILImage.open(io.BytesIO(base64.b64decode(data))) as image:
            kinds.append((image.format, image.size, image.getpixel((0, 0))[0] > 200))
    assert kinds == [("JPEG", (160, 53), True), ("JPEG", (24, 16), False)]


def test_unreadable_pictures_get_words(tmp_path):
    missing = {"bytes": None, "path": str(tmp_path / "gone" / "lost.jpg")}
    also_missing = {"bytes": None, "path": str(tmp_path / "gone" / "lost too.jpg")}
    on_disk = tmp_path / "there.png"
    on_disk.write_bytes(png(7))
    rows = [
        ([missing, also_missing], [0.9, 0.8], None),
        ([{"bytes": b"<html>", "path": "b.jpg"}, {"bytes": b"", "path": "e.jpg"}], [0.7, 0.6], None),
        ([{"bytes": None, "path": None}, None], [0.5, 0.4], None),
        ([{"bytes": None, "path": "https://example.org/a.jpg"}], [0.3], None),
        ([{"bytes": None, "path": str(on_disk)}], [0.2], None),
    ]
    write_score_report(tmp_path / "report", {"train": make_split(rows)}, UNKNOWN)
    page = Page(tmp_path / "report" / "scores.html")
    figures = page.under("Best by quality")
    assert [figure["src"] is None for figure in figures] == [True] * 7 + [False]
    faults = [figure["text"].split("\n")[0] for figure in figures[:7]]
    assert faults[:2] == ["Cannot be read: there is no such file."] * 2
    assert faults[2:4] == ["Cannot be read: it is empty, broken or not a picture."] * 2
    assert faults[4:] == ["Cannot be read: it is of a kind that is not read."] * 3
    assert "lost too.jpg" in figures[1]["text"]
    assert str(tmp_path) not in page.source


def test_texts_of_strangers_stay_text(tmp_path):
    attack = "<img src=x onerror=alert(1)>"
    words = [attack, "</style><script>alert(2)</script>", "&amp;", '"', "'"]
    image = {"bytes": png(3), "path": 'x" onerror="alert(3).png'}
    split = make_split([([image], [0.3], [0.2], words)])
    split = split.remove_columns("id").add_column("id", [attack])
    scorers = {"quality_scorer": {"library": "registered", "name": attack, "version": "</pre>"}}
    write_score_report(tmp_path, {f"train{attack}": split}, scorers)
    page = Page(tmp_path / "scores.html")
    (figure,) = page.under("Best by quality")
    assert figure["text"].split("\n")[2] == " ".join(words)
    assert figure["text"].split("\n")[1] == f"train{attack}, post {attack}, {image['path']}"
    assert any(json.loads(text) == scorers["quality_scorer"] for text in page.words if text.startswith("{"))
    assert page.tags.count("script") == 0
    assert page.tags.count("img") == 1 + 4
    assert [address for address in page.addresses if address[0] == "event"] == []


def test_a_long_text_is_cut(tmp_path):
    write_score_report(tmp_path, {"train": make_split([([picture(1)], [0.3], None, ["word"] * 200)])}, UNKNOWN)
    (figure,) = Page(tmp_path / "scores.html").under("Best by quality")
    assert len(figure["text"].split("\n")[2]) == 301
    assert figure["text"].split("\n")[2].endswith("…")


def test_page_needs_nothing_else(page):
    assert page.tags.count("script") == 0
    assert not {"link", "iframe", "object", "embed", "form"} & set(page.tags)
    assert page.addresses
    assert all(value.startswith(("data:image/", "#")) for _, value in page.addresses)
    assert "url(" not in page.source
    assert "@import" not in page.source


def test_figure_is_a_png_of_its_size_and_in_the_page(hand_made, tmp_path):
    paths = write_score_report(tmp_path / "new" / "folder", hand_made, UNKNOWN)
    assert paths == [tmp_path / "new" / "folder" / "scores.png", tmp_path / "new" / "folder" / "scores.html"]
    assert sorted(os.listdir(paths[0].parent)) == ["scores.html", "scores.png"]
    with PILImage.open(paths[0]) as image:
        image.load()
        assert image.format == "PNG"
        assert image.size == tuple(int(side * FIGURE_DPI) for side in FIGURE_SIZE)
    figure = base64.b64encode(paths[0].read_bytes()).decode()
    assert f"data:image/png;base64,{figure}" in paths[1].read_text(encoding="utf-8")


def figure_words(monkeypatch, scores):
    """All text of the figure, in the order of its parts."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    words = []

    def keep(figure, *args, **kwargs):
        words.extend(text.get_text() for text in figure.findobj(Text))

    monkeypatch.setattr(Figure, "savefig", keep)
    draw_figure(scores)
    return "\n".join(words)


def test_figure_names_counts_and_the_paper(hand_made, monkeypatch):
    words = figure_words(monkeypatch, collect_scores(hand_made))
    for expected in (
        "Scores of 10 pictures in 6 posts",
        "Quality: 7 pictures (3 without a score)",
        "above 0.5: 42.9 % (in the paper, of MNER-MI: 24.4 %)",
        "0.8 to 1: 2 of 7 (in the paper: 1 of 24,022)",
        "Relevance: 8 pictures (2 without a score)",
        "Within a post, quality: 3 posts",
        "Within a post, relevance: 3 posts",
        "quality score, from 0 (worst) to 1 (best)",
        "number of posts",
    ):
        assert expected in words


@pytest.mark.parametrize(("kind", "other", "tables"), [("quality", "relevance", 4), ("relevance", "quality", 3)])
def test_one_kind_of_score_only(tmp_path, monkeypatch, kind, other, tables):
    rows = [([picture(0), picture(1)], [0.25, 0.5], [0.25, 0.5]), ([picture(2)], [0.75], [0.75])]
    split = make_split(rows, columns=[f"{kind}_scores"])
    write_score_report(tmp_path, {"train": split}, {})
    page = Page(tmp_path / "scores.html")
    assert f"No picture has a {other} score." in page.words
    assert page.row(COUNTS, f"… with a {other} score") == {"train": "0"}
    assert page.row(COUNTS, f"… missing a {other} score") == {"train": "3"}
    assert page.row(-1, kind)["mean"] == "0.250"
    assert set(page.row(-1, other).values()) == {"0", ""}
    assert len(page.tables) == tables
    assert not any(other in heading.lower() and "ends" in heading for heading in page.headings)
    # Without ids the number of the post stands in
    lines = [figure["text"].split("\n")[1] for figure in page.figures]
    high_first = ["train, post 1, 2.png", "train, post 0, 1.png", "train, post 0, 0.png"]
    assert lines == [*high_first, *reversed(high_first)]
    words = figure_words(monkeypatch, collect_scores({"train": split}))
    assert f"No picture has a {other} score." in words
    assert f"No post has two or more\npictures with a {other} score." in words


def test_posts_of_one_picture_have_no_spread(tmp_path, monkeypatch):
    split = make_split([([picture(0)], [0.25], [0.5])])
    write_score_report(tmp_path, {"train": split}, UNKNOWN)
    assert set(Page(tmp_path / "scores.html").row(SPREAD, "quality").values()) == {"0", ""}
    words = figure_words(monkeypatch, collect_scores({"train": split}))
    assert "No post has two or more\npictures with a quality score." in words


def test_no_scores_at_all(tmp_path):
    columns_missing = make_split([([picture(0)], None, None)], columns=["id"])
    all_none = make_split([([picture(0), picture(1)], [None, None], None)])
    for posts in ({"train": columns_missing}, {"train": all_none}, {"train": all_none.select([])}, {}):
        with pytest.raises(ValueError, match=r"scripts/score_images\.py"):
            write_score_report(tmp_path / "report", posts, UNKNOWN)
    assert not (tmp_path / "report").exists()


def test_scores_that_do_not_fit_are_refused(tmp_path):
    for rows, complaint in (
        ([([picture(0)], [0.1, 0.2], None)], "Post 'p0': 2 quality_scores for 1 images"),
        ([([picture(0)], [43.0], None)], "percent"),
        ([([picture(0)], None, [-1.5])], "not in"),
    ):
        with pytest.raises(ValueError, match=complaint):
            write_score_report(tmp_path / "report", {"train": make_split(rows)}, UNKNOWN)
    assert not (tmp_path / "report").exists()


def test_without_matplotlib_the_cure_is_named_and_nothing_written(tmp_path, hand_made, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'iqcr-mi\[plots\]'"):
        write_score_report(tmp_path / "report", hand_made, UNKNOWN)
    assert not (tmp_path / "report").exists()


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, hand_made, monkeypatch):
    (tmp_path / "scores.png").write_bytes(b"old")

    def fail(self, target):
        raise OSError("no room")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="no room"):
        write_score_report(tmp_path, hand_made, UNKNOWN)
    assert os.listdir(tmp_path) == ["scores.png"]
    assert (tmp_path / "scores.png").read_bytes() == b"old"


def test_format_order_and_decoding_of_a_data_set_do_not_matter(tmp_path, hand_made):
    train = hand_made["train"]
    decoded = train.cast(Features({**train.features, "images": List(Image())}))
    variants = [
        train.with_format("numpy"),
        decoded,
        train.select([0, 1, 2, 3, 4]),
        train.select([4, 3, 2, 1, 0]).select([4, 3, 2, 1, 0]),
    ]
    pages = []
    for number, variant in enumerate([train, *variants]):
        (_, path) = write_score_report(tmp_path / str(number), {"train": variant}, UNKNOWN)
        pages.append(path.read_text(encoding="utf-8"))
    assert pages[1:] == [pages[0]] * 4

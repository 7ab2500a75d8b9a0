import copy
import json
import re
from html.parser import HTMLParser

import pytest

from dataset_scripts.corpus_build import build_corpus
from dataset_scripts.registry import BUILDERS
from dataset_scripts.report_page import render_page

# The names of the schema's own fields. Every other string of a report comes from files.
FIELDS = re.findall(
    r"\w+",
    """schema corpus title citation homepage variant pictures pictures_were_read made_from versions sources file
    bytes sha256 tag_names splits posts posts_by_source images images_listed images_found images_sha256
    posts_by_number_of_images entities entities_begun illegal_steps missing_images broken_images
    repaired_images dropped_posts repaired_tags text post image reason where what published differences split
    here texts_in_two_splits entities_seen_in_training seen unseen""",
)
EVIL = [
    "<script>alert(1)</script>",
    '"onmouseover="alert(1)" x="',
    "'><img src=x onerror=alert(1)>",
    "</style></title></pre><!--",
    "&lt;script&gt;&#60;b>",
]


def make_split(posts, images, per, loc):
    return {
        "posts": posts,
        "posts_by_source": {"mner-mi": posts},
        "images": images,
        "images_listed": images,
        "images_found": images,
        "images_sha256": "5e" * 32,
        "posts_by_number_of_images": {"2": posts},
        "entities": {"PER": per, "LOC": loc},
        "entities_begun": {"PER": per, "LOC": loc},
        "illegal_steps": 0,
        "missing_images": [],
        "broken_images": [],
        "repaired_images": [],
        "dropped_posts": [],
        "repaired_tags": [],
        "text": {"words": 10 * posts, "casing": {"all_lower": 0.25}, "language": "en"},
    }


def make_report():
    """A report whose counts are all as published, and in which nothing is wrong."""
    return {
        "schema": "iqcr-mi/build-report/1",
        "corpus": "mner-mi",
        "title": "MNER-MI",
        "citation": "Huang et al., LREC-COLING 2024",
        "homepage": "https://github.com/JinFish/MNER-MI",
        "variant": "published",
        "pictures": "included",
        "pictures_were_read": True,
        "made_from": {"illegal_tags": "keep"},
        "versions": {"python": "3.11.2"},
        "sources": [{"file": "text/MNER-MI_train.txt", "bytes": 1234567, "sha256": "0a" * 32}],
        "tag_names": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
        "splits": {"train": make_split(6856, 19188, 4529, 1878), "test": make_split(860, 2395, 439, 156)},
        "published": {
            "train": {"posts": 6856, "images": 19188, "entities": 6407, "PER": 4529, "LOC": 1878},
            "test": {"posts": 860, "images": 2395, "entities": 595, "PER": 439, "LOC": 156},
        },
        "differences": [],
        "texts_in_two_splits": [],
        "entities_seen_in_training": {"test": {"PER": {"seen": 293, "unseen": 146}, "LOC": {"seen": 0, "unseen": 0}}},
    }


def make_faulty_report():
    """A report with every fault there is: pictures missing in train, entities of another number, a post dropped."""
    report = make_report() | {"variant": "unrecognised"}
    train = report["splits"]["train"]
    train |= {"posts": 6855, "images_found": 18947, "images": 18940, "illegal_steps": 2}
    train["entities"] = {"PER": 4000, "LOC": 1878}
    train["posts_by_source"] = {"mner-mi": 6000, "twitter2017": 855}
    train["missing_images"] = [{"post": str(n), "image": f"{n}_0.jpg", "reason": "not there"} for n in range(241)]
    train["broken_images"] = [{"post": "7", "image": "7_1.jpg", "reason": "no picture, but a page"}]
    train["repaired_images"] = [{"post": "8", "image": "8_1.jpg", "reason": "ends early"}]
    train["dropped_posts"] = [{"post": "9", "reason": "9_0.jpg is missing"}]
    train["repaired_tags"] = [{"post": "6", "where": "train.txt:12", "what": "word 3: I-PER continues nothing"}]
    report["differences"] = [
        {"split": "train", "what": "images", "published": 19188, "here": 18947},
        {"split": "train", "what": "PER", "published": 4529, "here": 4001},
    ]
    report["texts_in_two_splits"] = [{"text": "first words", "posts": [["train", "O_1"], ["test", "17_2"]]}]
    return report


def plant(value, mark):
    """The report with `mark` behind every string that is no name of a field, keys included."""
    if isinstance(value, dict):
        return {key if key in FIELDS else key + mark: plant(item, mark) for key, item in value.items()}
    if isinstance(value, list):
        return [plant(item, mark) for item in value]
    return value + mark if isinstance(value, str) else value


class Page(HTMLParser):
    """Elements with their attributes, the text, and the cells of every table row by its first cell."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.others, self.texts, self.rows, self.marked = [], [], [], {}, set()
        self._row = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, attrs))
        if tag == "tr":
            self._row = []
        elif tag in ("td", "th"):
            self._row.append("")
            if "differs" in (dict(attrs).get("class") or ""):
                self.marked.add((self._row[0], len(self._row) - 1))

    def handle_endtag(self, tag):
        self.elements.append((f"/{tag}", []))
        if tag == "tr":
            self.rows.setdefault(self._row[0], self._row[1:])

    def handle_data(self, data):
        self.texts.append(data)
        if self._row:
            self._row[-1] += data

    def handle_comment(self, data):
        self.others.append(data)

    handle_pi = unknown_decl = handle_comment

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.mark.parametrize("evil", EVIL)
def test_no_string_of_a_report_becomes_markup(evil):
    harmless = Page(render_page(plant(make_faulty_report(), "MARK")))
    hostile = Page(render_page(plant(make_faulty_report(), evil)))
    expected = [(tag, [(n, v and v.replace("MARK", evil)) for n, v in attrs]) for tag, attrs in harmless.elements]
    assert hostile.elements == expected
    assert hostile.others == []
    assert "".join(hostile.texts).count(evil) > 100
    # In `made_from` the mark goes through JSON first.
    made_from = [text for text in harmless.texts if text.lstrip().startswith("{")]
    texts = [text.replace("MARK", json.dumps(evil)[1:-1] if text in made_from else evil) for text in harmless.texts]
    assert "".join(hostile.texts) == "".join(texts)


def test_every_name_is_on_the_page():
    text = Page(render_page(make_faulty_report())).text
    for words in (
        "train, post 7, 7_1.jpg no picture, but a page",
        "train, post 8, 8_1.jpg ends early",
        "train, post 9 9_0.jpg is missing",
        "train, post 6, train.txt:12 word 3: I-PER continues nothing",
        "train, post O_1; test, post 17_2 first words",
        "text/MNER-MI_train.txt, 1,234,567 bytes SHA-256 " + "0a" * 32,
        "SHA-256 over the SHA-256 of each " + "5e" * 32,
        "python 3.11.2",
        '"illegal_tags": "keep"',
        "Huang et al., LREC-COLING 2024",
    ):
        assert words in text


def test_page_needs_and_runs_nothing():
    page = Page(render_page(make_faulty_report()))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    named = {name for _, attrs in page.elements for name, _ in attrs}
    assert named <= {"lang", "charset", "name", "content", "http-equiv", "class", "id", "href"}
    links = [dict(attrs)["href"] for tag, attrs in page.elements if tag == "a"]
    ids = {f"#{dict(attrs)['id']}" for _, attrs in page.elements if "id" in dict(attrs)}
    assert set(links) == ids | {"https://github.com/JinFish/MNER-MI"}
    assert not re.search(r"url\(|@import", "".join(page.texts))


def test_elements_are_closed_in_order():
    open_elements = []
    for tag, _ in Page(render_page(make_faulty_report())).elements:
        if tag.startswith("/"):
            assert open_elements.pop() == tag[1:]
        elif tag != "meta":
            open_elements.append(tag)
    assert open_elements == []


def test_homepage_that_is_no_web_address_is_no_link():
    page = Page(render_page(make_report() | {"homepage": "javascript:alert(1)"}))
    assert "a" not in {tag for tag, _ in page.elements}
    assert "javascript:alert(1)" in page.text


def test_counts_as_published_say_so():
    page = Page(render_page(make_report()))
    assert page.rows["Posts"] == ["6,856= published", "860= published"]
    assert page.rows["Pictures found"] == ["19,188= published", "2,395= published"]
    assert page.rows["Entities"] == ["6,407= published", "595= published"]
    assert page.rows["… LOC"] == ["1,878= published", "156= published"]
    assert page.rows["B- tags"] == ["6,407", "595"]  # not published
    assert page.marked == set()
    assert "≠" not in page.text
    assert "variant: ✓ published" in page.text
    assert "All 10 published counts are met" in page.text


def test_each_difference_is_marked_in_words_where_it_is():
    page = Page(render_page(make_faulty_report()))
    assert page.rows["Pictures found"] == ["18,947≠ 19,188 published", "2,395= published"]
    assert page.rows["… PER"] == ["4,000≠ 4,529 published, the texts have 4,001", "439= published"]
    assert page.marked == {("Pictures found", 1), ("… PER", 1)}
    assert "variant: ≠ unrecognised" in page.text
    assert "2 of 10 published counts are not met" in page.text


def test_posts_dropped_after_the_comparison_are_no_difference():
    page = Page(render_page(make_faulty_report()))
    assert page.rows["Posts"] == ["6,855the texts have the published 6,856", "860= published"]


def test_without_published_counts_nothing_is_compared():
    page = Page(render_page(make_report() | {"published": None, "variant": "not verified", "corpus": "folder"}))
    assert page.rows["Posts"] == ["6,856", "860"]
    assert "variant: not verified" in page.text
    assert "no published counts" in page.text


def test_pictures_that_nobody_read_are_compared_by_name_and_not_called_faultless():
    report = make_report() | {"pictures": "left out", "pictures_were_read": False}
    for counts in report["splits"].values():
        counts |= {"images": 0, "images_found": 0, "images_sha256": None, "posts_by_number_of_images": {"0": 1}}
    page = Page(render_page(report))
    assert page.rows["Pictures named by the texts"] == ["19,188= published", "2,395= published"]
    assert "Pictures found" not in page.rows
    assert "Pictures were not read" in page.text
    assert "Posts by number of pictures" not in page.text


def test_copy_of_a_whole_build_without_its_pictures_keeps_what_is_known_of_them():
    page = Page(render_page(make_faulty_report() | {"pictures": "left out"}))
    assert page.rows["Pictures found"][0] == "18,947≠ 19,188 published"
    assert page.rows["Pictures belonging to it"] == ["18,940", "2,395"]
    assert "Pictures were not read" not in page.text


def test_long_list_is_cut_after_two_hundred():
    page = Page(render_page(make_faulty_report()))
    assert "post 199, 199_0.jpg" in page.text
    assert "post 200, 200_0.jpg" not in page.text
    assert "and 41 more in build_report.json" in page.text
    assert page.rows["Missing pictures"] == ["241", "0"]
    report = make_faulty_report()
    del report["splits"]["train"]["missing_images"][200:]
    page = Page(render_page(report))
    assert "post 199, 199_0.jpg" in page.text
    assert "more in build_report.json" not in page.text


def test_unseen_entities_are_shared_out_by_type():
    page = Page(render_page(make_report()))
    cells = [row for row in page.text.split("share unseen")[1].split("Texts")[0].split("test ") if row.strip()]
    assert [" ".join(row.split()) for row in cells] == ["PER 293 146 33.3 %", "LOC 0 0", "all 293 146 33.3 %"]


def test_audit_of_the_texts_is_shown_whatever_it_counts():
    report = make_report()
    report["splits"]["test"]["text"]["later"] = {"than": {"this page": 1234.56789}}
    page = Page(render_page(report))
    assert page.rows["words"] == ["68,560", "8,600"]
    assert page.rows["casing: all lower"] == ["0.25", "0.25"]
    assert page.rows["later: than: this page"] == ["0", "1,234.568"]


def test_rendering_leaves_the_report_as_it_is():
    report = make_faulty_report()
    before = copy.deepcopy(report)
    render_page(report)
    assert report == before


def test_real_build_has_all_that_the_page_shows(tmp_path, release):
    builder = BUILDERS["mner-mi"](data_dir=str(release), cache_dir=str(tmp_path / "cache"))
    report = build_corpus(builder, tmp_path / "built", verify=False)
    page = Page((tmp_path / "built" / "build_report.html").read_text(encoding="utf-8"))
    assert page.rows["Posts"][0] == "2≠ 6,856 published"
    assert "train, post 7, 7_1.jpg" in page.text
    assert "validation, post 8, 8_0.jpg" in page.text
    assert "train, post 5302; test, post 10" in page.text
    assert report["sources"][0]["sha256"] in page.text

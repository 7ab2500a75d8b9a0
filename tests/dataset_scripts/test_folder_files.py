import itertools

import pytest
from datasets import load_dataset

from dataset_scripts.folder_files import find_entity_types, find_folder_files
from dataset_scripts.records import Record

KINDS = ("{}/metadata.jsonl", "{}.jsonl", "{}.txt", "{}.conll")
NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation"}
NAMES |= {"dev": "validation", "test": "test"}


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}\n")
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_and_name_of_a_split_is_found(tmp_path, kind, name):
    file = kind.format(name)
    assert find_folder_files(make(tmp_path, file, "README.md", "pictures/a.jpg")) == {NAMES[name]: tmp_path / file}


@pytest.mark.parametrize("name", NAMES)
def test_names_mean_the_splits_that_datasets_takes_them_for(tmp_path, name):
    make(tmp_path, f"{name}.txt")
    loaded = load_dataset("text", data_dir=str(tmp_path), cache_dir=str(tmp_path.parent / f"cache_{tmp_path.name}"))
    assert list(loaded) == list(find_folder_files(tmp_path))


def test_splits_come_in_order_and_may_differ_in_kind(tmp_path):
    make(tmp_path, "test.conll", "dev.jsonl", "train/metadata.jsonl")
    found = find_folder_files(str(tmp_path))
    assert list(found.items()) == [
        ("train", tmp_path / "train" / "metadata.jsonl"),
        ("validation", tmp_path / "dev.jsonl"),
        ("test", tmp_path / "test.conll"),
    ]


def test_one_metadata_file_is_train(tmp_path):
    make(tmp_path, "metadata.jsonl", "a.jpg", "train/b.jpg")
    assert find_folder_files(tmp_path) == {"train": tmp_path / "metadata.jsonl"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *itertools.combinations([kind.format("train") for kind in KINDS], 2),
        ("validation.txt", "val.txt"),
        ("valid.jsonl", "dev.conll"),
        ("test/metadata.jsonl", "test.jsonl"),
    ],
)
def test_two_files_for_a_split_are_an_error_that_names_both(tmp_path, first, second):
    with pytest.raises(ValueError, match=r"several files for the (train|validation|test) split") as error:
        find_folder_files(make(tmp_path, first, second))
    assert f"{first} and {second}" in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("other", ["train.jsonl", "test.txt", "val/metadata.jsonl"])
def test_metadata_file_beside_a_split_is_an_error_that_names_both(tmp_path, other):
    with pytest.raises(ValueError, match=rf"has a metadata\.jsonl, .* beside {other}.*train/metadata\.jsonl"):
        find_folder_files(make(tmp_path, "metadata.jsonl", other))


@pytest.mark.parametrize("names", [["training.txt", "train.csv"], ["Train.txt"], ["train.txt/a.jpg", "train/b.jpg"]])
def test_folder_without_posts_says_what_was_expected_and_found(tmp_path, names):
    with pytest.raises(
        FileNotFoundError, match=r"<split>/metadata\.jsonl, .*train, validation, valid, val, dev, t"
    ) as e:
        find_folder_files(make(tmp_path, *names))
    for name in names:
        assert name.split("/")[0] + "/" * ("/" in name) in str(e.value)


def test_empty_folder_and_long_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder holds nothing\."):
        find_folder_files(tmp_path)
    make(tmp_path, *(f"{number:02}.jpg" for number in range(25)))
    with pytest.raises(FileNotFoundError, match=r"the folder holds 00\.jpg, .*, 19\.jpg and 5 more\."):
        find_folder_files(tmp_path)


def test_path_that_is_no_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist"):
        find_folder_files(tmp_path / "nowhere")
    make(tmp_path, "train.jsonl")
    with pytest.raises(FileNotFoundError, match=r"train\.jsonl' is a file, not a folder"):
        find_folder_files(tmp_path / "train.jsonl")


def test_entity_types_are_the_files_own_sorted_and_once():
    posts = [["O", "B-geo-loc", "I-geo-loc"], ["I-OTHER", "B-PER"], ["O"], ["B-PER", "B-MIS"]]
    records = (Record("1", ["x"] * len(tags), tags, [], "", "mine", "a:1") for tags in posts)
    assert find_entity_types(records) == ["MIS", "OTHER", "PER", "geo-loc"]
    assert find_entity_types([]) == []

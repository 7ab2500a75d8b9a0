import multiprocessing
import os
import pickle
import random
import shutil
import stat
import struct
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_scripts import picture_roots
from dataset_scripts.picture_roots import PictureMissingError, PictureRoots, PictureUnreadableError

# Offsets in the table of contents of an archive, from the signature of an entry on (APPNOTE.TXT, 4.3.12).
SIGNATURE = b"PK\x01\x02"
FLAGS, DECLARED_SIZE = 8, 24
ZEROS = 200 * 2**20


def pack(path, entries, compression=zipfile.ZIP_STORED):
    """An archive of (name, data) in this order; a name goes in as it is, also one that zipfile would change."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = compression
            archive.writestr(info, data)
    return path


def patch(path, offset, layout, value):
    """Overwrite a field of the first entry in the table of contents."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.index(SIGNATURE) + offset, value)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """200 MB of zeros in an archive of some 900 kB, packed without ever holding them."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("1.jpg", "w") as out,
    ):
        for _ in range(ZEROS // 2**20):
            out.write(bytes(2**20))
    return path


def peak_of_refusal(root, match):
    """The most bytes that Python had at once while `1.jpg` was refused."""
    with PictureRoots([root]) as roots:
        tracemalloc.start()
        try:
            with pytest.raises(PictureUnreadableError, match=match):
                roots.read(["1.jpg"])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


# --- where a picture is looked for ---


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "folder"
    (root / "deep/er").mkdir(parents=True)
    (root / "1.jpg").write_bytes(b"one")
    (root / "deep/er/2.jpg").write_bytes(b"two")
    return root


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_gives_what_was_packed_and_nothing_appears_on_disk(tmp_path, compression):
    pictures = {f"images/{i}_0.jpg": random.Random(i).randbytes(1000 * i) for i in range(20)}
    path = pack(tmp_path / "images.zip", pictures.items(), compression)
    with PictureRoots([path]) as roots:
        for name, data in pictures.items():
            assert roots.read([name]) == data
            assert roots.read([name.removeprefix("images/")]) == data
    assert os.listdir(tmp_path) == ["images.zip"]


def test_folder_gives_files_at_their_names_only(folder):
    roots = PictureRoots([folder])
    assert roots.read(["1.jpg"]) == b"one"
    assert roots.read(["deep/er/2.jpg"]) == b"two"
    for name in ("2.jpg", "er/2.jpg", "1.jpg/2.jpg"):
        with pytest.raises(PictureMissingError):
            roots.read([name])


def test_first_root_goes_before_first_name(tmp_path, folder):
    path = pack(tmp_path / "a.zip", [("1.jpg", b"packed one"), ("3.jpg", b"packed three")])
    assert PictureRoots([folder, path]).read(["3.jpg", "1.jpg"]) == b"one"
    assert PictureRoots([path, folder]).read(["3.jpg", "1.jpg"]) == b"packed three"
    assert PictureRoots([path, folder]).read(["deep/er/2.jpg"]) == b"two"


def test_missing_picture_names_itself_and_the_roots(tmp_path, folder):
    path = pack(tmp_path / "a.zip", [("images/11.jpg", b""), ("images/", b"")])
    roots = PictureRoots([folder, path])
    with pytest.raises(PictureMissingError) as caught:
        roots.read(["5302_0.jpg"])
    assert str(caught.value) == f"'5302_0.jpg' is in none of the image roots ({folder}, {path})."
    for name in ("ages/11.jpg", "images", "images/1.jpg", "11.jp"):
        with pytest.raises(PictureMissingError):
            roots.read([name])


def test_number_of_roots_is_length_and_truth(tmp_path, folder):
    assert len(PictureRoots([folder, pack(tmp_path / "a.zip", [])])) == 2
    assert PictureRoots([folder])
    assert not PictureRoots([])
    with pytest.raises(PictureMissingError):
        PictureRoots([]).read(["1.jpg"])


def test_exact_entry_goes_before_one_in_a_folder(tmp_path):
    entries = [("a/1.jpg", b"a"), ("1.jpg", b"top"), ("b/a/1.jpg", b"ba")]
    roots = PictureRoots([pack(tmp_path / "a.zip", entries)])
    assert roots.read(["1.jpg"]) == b"top"
    assert roots.read(["a/1.jpg"]) == b"a"
    assert roots.read(["b/a/1.jpg"]) == b"ba"


def test_two_entries_for_one_name_are_an_error_with_both(tmp_path):
    # "1.jpgx" and "x1.jpg" lie beside them in every order and are no matches.
    entries = [(name, b"") for name in ("b/1.jpg", "a/1.jpg", "a/1.jpgx", "a/x1.jpg", "c/2.jpg", "a/b/3.jpg")]
    path = pack(tmp_path / "a.zip", entries)
    roots = PictureRoots([path])
    with pytest.raises(PictureUnreadableError) as caught:
        roots.read(["1.jpg"])
    assert str(caught.value).startswith(f"'{path}' has more than one entry for '1.jpg': 'a/1.jpg' and 'b/1.jpg'.")
    assert roots.read(["b/1.jpg", "x1.jpg"]) == roots.read(["b/3.jpg"]) == b""


def test_of_entries_with_one_name_the_last_counts(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = pack(tmp_path / "a.zip", [("images/1.jpg", b"old"), ("images/1.jpg", b"new")])
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    for name in ("images/1.jpg", "1.jpg"):
        assert PictureRoots([path]).read([name]) == (tmp_path / "unpacked/images/1.jpg").read_bytes() == b"new"


def test_macintosh_leftovers_are_no_pictures(tmp_path):
    entries = [("images/1.jpg", b"picture"), ("__MACOSX/images/1.jpg", b"other"), ("__MACOSX/2.jpg", b"")]
    roots = PictureRoots([pack(tmp_path / "a.zip", entries)])
    assert roots.read(["1.jpg"]) == b"picture"
    with pytest.raises(PictureMissingError):
        roots.read(["2.jpg"])


def test_harmless_backslashes_of_an_entry_are_folders(tmp_path):
    roots = PictureRoots([pack(tmp_path / "a.zip", [("images\\deep\\1.jpg", b"one")])])
    assert roots.read(["1.jpg"]) == roots.read(["images/deep/1.jpg"]) == b"one"


PARTS = st.sampled_from(["a", "b", "ab", "a.", "."])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


@settings(deadline=None)  # it writes files, on a machine that may be busy
@given(paths=st.lists(PATHS, unique=True, max_size=12), name=PATHS)
def test_search_agrees_with_looking_at_every_entry(tmp_path_factory, paths, name):
    path = pack(tmp_path_factory.mktemp("search") / "a.zip", [(entry, entry.encode()) for entry in paths])
    matches = [entry for entry in paths if entry == name] or [entry for entry in paths if entry.endswith("/" + name)]
    with PictureRoots([path]) as roots:
        if len(matches) == 1:
            assert roots.read([name]) == matches[0].encode()
        else:
            with pytest.raises(PictureUnreadableError if matches else PictureMissingError):
                roots.read([name])


# --- names that lead out ---


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../1.jpg",
        "a/../../1.jpg",
        "a/..",
        "..",
        "C:/1.jpg",
        "c:1.jpg",
        "\\1.jpg",
        "\\\\server\\share\\1.jpg",
        "..\\1.jpg",
        "a\\..\\..\\1.jpg",
        "a/..\\1.jpg",
        "1.jpg\0/../../x",
        "../",
        "__MACOSX/../../1.jpg",
    ],
)
def test_archive_with_an_entry_that_leads_out_is_refused_as_a_whole(tmp_path, name):
    path = pack(tmp_path / "a.zip", [("good.jpg", b""), (name, b"")])
    with pytest.raises(ValueError, match="refused as a whole: an entry could lead out of its folder") as caught:
        PictureRoots([path])
    assert str(caught.value).startswith(f"'{path}' is")
    assert f"({name!r})" in str(caught.value)


def test_dots_that_lead_nowhere_are_accepted(tmp_path):
    names = ["..jpg", "a..b/c...jpg", ".../1.jpg", "./2.jpg", "a/.hidden.jpg"]
    roots = PictureRoots([pack(tmp_path / "a.zip", [(name, name.encode()) for name in names])])
    assert [roots.read([name]) for name in names] == [name.encode() for name in names]


@pytest.mark.parametrize("name", ["", "/1.jpg", "../1.jpg", "a/../../1.jpg", "a\\1.jpg", "C:1.jpg", "1.jpg\0", ".."])
def test_unsafe_name_is_refused_whatever_the_roots_hold(tmp_path, folder, name):
    (tmp_path / "1.jpg").write_bytes(b"secret")
    for roots in (PictureRoots([folder]), PictureRoots([pack(tmp_path / "a.zip", [])]), PictureRoots([])):
        with pytest.raises(ValueError, match="is empty or could lead out of the image folder") as caught:
            roots.read(["1.jpg", name])
        assert not isinstance(caught.value, PictureMissingError | PictureUnreadableError)


def test_link_out_of_a_folder_is_refused_with_the_cure(tmp_path, folder):
    outside = tmp_path / "folder-beside"  # its path begins as the root's does
    outside.mkdir()
    (outside / "3.jpg").write_bytes(b"secret")
    (folder / "3.jpg").symlink_to(outside / "3.jpg")
    (folder / "elsewhere").symlink_to(outside)
    (folder / "up.jpg").symlink_to("../folder-beside/3.jpg")
    roots = PictureRoots([folder, outside])
    for name in ("3.jpg", "elsewhere/3.jpg", "up.jpg"):
        with pytest.raises(PictureUnreadableError, match=r"leads out.* Copy the file .* as an image root") as caught:
            roots.read([name])
        assert str(caught.value).startswith(f"'{folder / name}' is a link")


def test_links_inside_a_folder_and_to_a_root_are_followed(tmp_path, folder):
    (folder / "3.jpg").symlink_to("deep/er/2.jpg")
    (folder / "short").symlink_to(folder / "deep/er")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "link.zip").symlink_to(pack(tmp_path / "a.zip", [("4.jpg", b"four")]))
    roots = PictureRoots([tmp_path / "link", tmp_path / "link.zip"])
    assert roots.read(["3.jpg"]) == roots.read(["short/2.jpg"]) == b"two"
    assert roots.read(["4.jpg"]) == b"four"


def test_what_is_there_but_no_file_is_unreadable(folder):
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(folder / "pipe.jpg")
    roots = PictureRoots([folder])
    for name, reason in {"dangling": "No such file", "loop": "symbolic links", "pipe": "is not a file"}.items():
        with pytest.raises(PictureUnreadableError, match=reason) as caught:
            roots.read([f"{name}.jpg"])
        assert str(caught.value).startswith(f"'{folder / name}.jpg' ")
    with pytest.raises(PictureUnreadableError, match="is not a file"):
        roots.read(["deep"])


def test_link_in_an_archive_is_unreadable(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("images/1.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(PictureUnreadableError) as caught:
        PictureRoots([path]).read(["1.jpg"])
    assert str(caught.value).startswith(f"'{path}: images/1.jpg' is a link.")


def test_message_without_places_shows_the_roots_by_name(tmp_path, folder):
    path = pack(tmp_path / "a.zip", [("1.jpg", b""), ("b/2.jpg", b""), ("c/2.jpg", b"")])
    roots = PictureRoots([folder, path])
    for name in ("deep", "2.jpg", "3.jpg"):
        with pytest.raises(ValueError, match=str(tmp_path)) as caught:
            roots.read([name])
        message = roots.without_places(str(caught.value))
        assert str(tmp_path) not in message
        assert "folder" in message or "a.zip" in message


# --- roots that are none ---


def test_root_that_does_not_exist_is_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"'.*nowhere' does not exist"):
        PictureRoots([folder, tmp_path / "nowhere"])


def test_root_that_is_no_archive_says_what_is_accepted(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "text.zip").write_text("no archive")
    (tmp_path / "empty.zip").write_bytes(b"")
    for name in ("pipe.zip", "text.zip", "empty.zip"):
        with pytest.raises(ValueError, match=r"An image root is a folder or a \.zip file") as caught:
            PictureRoots([str(tmp_path / name)])
        assert str(caught.value).startswith(f"'{tmp_path / name}' is neither")


def test_archive_cut_off_anywhere_is_refused(tmp_path):
    whole = pack(tmp_path / "a.zip", [("images/1.jpg", b"one"), ("images/2.jpg", b"two")]).read_bytes()
    path = tmp_path / "cut.zip"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut off or damaged: get it again"):
            PictureRoots([path])
    # The end is there, the beginning is lost: only the entries in the part that is there can be read.
    path.write_bytes(whole[20:])
    roots = PictureRoots([path])
    assert roots.read(["2.jpg"]) == b"two"
    with pytest.raises(PictureUnreadableError):
        roots.read(["1.jpg"])


# --- bytes that cannot be had ---


def test_wrong_byte_is_found_by_the_checksum(tmp_path):
    path = pack(tmp_path / "a.zip", [("images/1.jpg", b"picture one"), ("images/2.jpg", b"picture two")])
    path.write_bytes(path.read_bytes().replace(b"picture one", b"picturE one"))
    roots = PictureRoots([path])
    with pytest.raises(PictureUnreadableError, match=r"cannot be read.*CRC") as caught:
        roots.read(["1.jpg"])
    assert str(caught.value).startswith(f"'{path}: images/1.jpg' ")
    assert roots.read(["2.jpg"]) == b"picture two"


def test_encrypted_entry_is_unreadable(tmp_path):
    path = pack(tmp_path / "a.zip", [("1.jpg", b"picture")])
    patch(path, FLAGS, "<H", 1)
    with pytest.raises(PictureUnreadableError, match=r"a\.zip: 1\.jpg' cannot be read.*encrypted"):
        PictureRoots([path]).read(["1.jpg"])


def test_every_changed_byte_of_an_archive_gives_an_error_of_ours_or_the_picture(tmp_path):
    data = random.Random(0).randbytes(40) * 3
    whole = pack(tmp_path / "a.zip", [("images/1.jpg", data)], zipfile.ZIP_DEFLATED).read_bytes()
    path = tmp_path / "changed.zip"
    errors = []
    for position in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ change]) + whole[position + 1 :])
            try:
                with PictureRoots([path]) as roots:
                    assert roots.read(["1.jpg"]) == data
            except ValueError as error:
                errors.append(error)
    assert len(errors) > len(whole)
    assert {type(error) for error in errors} == {ValueError, PictureMissingError, PictureUnreadableError}
    assert all(str(path) in str(error) for error in errors)


def test_limit_holds_for_files_and_entries_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_roots, "MAX_PICTURE_BYTES", 1000)
    (tmp_path / "folder").mkdir()
    entries = [("fits.jpg", bytes(1000)), ("large.jpg", bytes(1001))]
    for name, data in entries:
        (tmp_path / "folder" / name).write_bytes(data)
    path = pack(tmp_path / "a.zip", entries)
    for root, place in ((tmp_path / "folder", tmp_path / "folder/large.jpg"), (path, f"{path}: large.jpg")):
        roots = PictureRoots([root])
        assert roots.read(["fits.jpg"]) == bytes(1000)
        with pytest.raises(PictureUnreadableError) as caught:
            roots.read(["large.jpg"])
        assert str(caught.value).startswith(f"'{place}' is larger than the 1000 bytes")


def test_bomb_is_refused_by_its_declared_size_unread(bomb):
    assert bomb.stat().st_size < 2 * 2**20
    assert peak_of_refusal(bomb, f"larger than.*{ZEROS}") < 2**20


@pytest.mark.parametrize(
    ("declared", "limit"),
    [(0, 2 * 2**20), (5000, 2 * 2**20), (picture_roots.MAX_PICTURE_BYTES, 3 * picture_roots.MAX_PICTURE_BYTES)],
)
def test_bomb_that_declares_less_than_it_holds_stays_within_that(tmp_path, bomb, declared, limit):
    path = tmp_path / "lying.zip"
    shutil.copy(bomb, path)
    patch(path, DECLARED_SIZE, "<I", declared)
    assert peak_of_refusal(path, "CRC") < limit < ZEROS


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_cannot_be_stopped_midway_is_refused_unread(tmp_path, compression):
    path = pack(tmp_path / "a.zip", [("1.jpg", bytes(30 * 2**20))], compression)
    patch(path, DECLARED_SIZE, "<I", 5000)
    assert peak_of_refusal(path, "is compressed by (bzip2|lzma). Pack it stored or deflated") < 2**20


def test_entry_that_declares_more_than_it_holds_is_damaged(tmp_path):
    path = pack(tmp_path / "a.zip", [("1.jpg", bytes(5000))], zipfile.ZIP_DEFLATED)
    patch(path, DECLARED_SIZE, "<I", 6000)
    with pytest.raises(PictureUnreadableError, match="should have 6000 bytes and has 5000"):
        PictureRoots([path]).read(["1.jpg"])


# --- threads, processes, life ---


@pytest.fixture
def many(tmp_path):
    """An archive of 200 pictures of very different sizes, and what is in it."""
    pictures = {f"{i}.jpg": random.Random(i).randbytes(1 + (i * 7919) % 60_000) for i in range(200)}
    entries = [(f"images/{name}", data) for name, data in pictures.items()]
    return pack(tmp_path / "many.zip", entries, zipfile.ZIP_DEFLATED), pictures


def test_threads_get_the_right_pictures(many):
    path, pictures = many
    names = list(pictures) * 5
    random.Random(0).shuffle(names)
    with PictureRoots([path]) as roots, ThreadPoolExecutor(8) as threads:
        roots.close()  # so that the threads also open it all at once
        assert list(threads.map(lambda name: roots.read([name]), names)) == [pictures[name] for name in names]


def _read_often(roots, pictures, seed, failures):
    names = list(pictures) * 5
    random.Random(seed).shuffle(names)
    for name in names:
        try:
            wrong = roots.read([name]) != pictures[name]
        except PictureUnreadableError:
            wrong = True
        failures.value += wrong


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork")
def test_forked_processes_do_not_disturb_each_other(many):
    path, pictures = many
    context = multiprocessing.get_context("fork")
    failures = context.Value("i", 0)
    with PictureRoots([path]) as roots:
        children = [context.Process(target=_read_often, args=(roots, pictures, i, failures)) for i in range(3)]
        for child in children:
            child.start()
        _read_often(roots, pictures, 3, failures)
        for child in children:
            child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert failures.value == 0


def test_pickle_holds_the_paths_only_and_reads_the_same(many, folder):
    path, pictures = many
    roots = PictureRoots([path, folder])
    pickled = pickle.dumps(roots)
    assert len(pickled) < 1000
    roots.close()
    copy = pickle.loads(pickled)
    assert copy.read(["7.jpg"]) == pictures["7.jpg"]
    assert copy.read(["1.jpg", "deep/er/2.jpg"]) == pictures["1.jpg"]
    assert copy.read(["deep/er/2.jpg"]) == b"two"
    assert copy.fingerprint() == roots.fingerprint()


def test_relative_roots_stay_where_they_were(tmp_path, folder, monkeypatch):
    pack(tmp_path / "a.zip", [("3.jpg", b"three")])
    monkeypatch.chdir(tmp_path)
    roots = PictureRoots(["folder", "a.zip"])
    monkeypatch.chdir(folder)
    assert roots.read(["1.jpg"]) == b"one"
    assert pickle.loads(pickle.dumps(roots)).read(["3.jpg"]) == b"three"


def test_closed_archives_are_released_and_opened_again(tmp_path):
    path = pack(tmp_path / "a.zip", [("1.jpg", b"one")])
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with PictureRoots([path]) as roots:
        assert roots.read(["1.jpg"]) == b"one"
    if before is not None:
        assert set(os.listdir("/proc/self/fd")) == before
    assert roots.read(["1.jpg"]) == b"one"
    roots.close()
    roots.close()
    path.unlink()
    with pytest.raises(PictureUnreadableError, match=r"1.jpg' cannot be read"):
        roots.read(["1.jpg"])


# --- fingerprint ---


def set_time(path, seconds):
    """The file system's own clock may be too coarse to tell two writes apart."""
    os.utime(path, (seconds, seconds), follow_symlinks=False)


@pytest.fixture
def stamped(tmp_path, folder):
    """A folder and an archive whose times are set, and their fingerprint."""
    path = pack(tmp_path / "a.zip", [("1.jpg", b"one")])
    (folder / "link.jpg").symlink_to("1.jpg")
    for file in (path, folder / "1.jpg", folder / "deep/er/2.jpg", folder / "link.jpg"):
        set_time(file, 1_000_000)
    return folder, path, PictureRoots([folder, path]).fingerprint()


def _edit_with_same_size(folder, path):
    (folder / "deep/er/2.jpg").write_bytes(b"TWO")


def _edit_with_same_time(folder, path):
    (folder / "1.jpg").write_bytes(b"longer")
    set_time(folder / "1.jpg", 1_000_000)


def _turn_link(folder, path):
    (folder / "link.jpg").unlink()
    (folder / "link.jpg").symlink_to("9.jpg")


CHANGES = {
    "edit, same size": _edit_with_same_size,
    "edit, same time": _edit_with_same_time,
    "add": lambda folder, path: (folder / "deep/3.jpg").write_bytes(b""),
    "add a link to a folder": lambda folder, path: (folder / "short").symlink_to("deep"),
    "remove": lambda folder, path: (folder / "deep/er/2.jpg").unlink(),
    "rename": lambda folder, path: (folder / "1.jpg").rename(folder / "one.jpg"),
    "move": lambda folder, path: (folder / "deep/er/2.jpg").rename(folder / "deep/2.jpg"),
    "turn a link": _turn_link,
    "archive's time": lambda folder, path: set_time(path, 1_000_001),
    "archive's content": lambda folder, path: pack(path, [("1.jpg", b"One")]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_fingerprint_changes_with_every_file(stamped, change):
    folder, path, before = stamped
    roots = PictureRoots([folder, path])
    change(folder, path)
    assert roots.fingerprint() == PictureRoots([folder, path]).fingerprint() != before


def test_fingerprint_stays_if_nothing_a_reader_sees_changes(tmp_path, stamped):
    folder, path, before = stamped
    (folder / ".hidden").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache/3.jpg").write_bytes(b"x")
    (folder / "deep/empty").mkdir()
    (tmp_path / "link").symlink_to(folder)
    roots = PictureRoots([tmp_path / "link", str(path)])
    roots.read(["1.jpg"])
    assert roots.fingerprint() == before


def test_fingerprint_knows_the_roots_and_their_order(tmp_path, stamped):
    folder, path, before = stamped
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)  # keeps the times
    others = [[path, folder], [folder], [path], [], [tmp_path / "copy", path]]
    assert len({before, *(PictureRoots(roots).fingerprint() for roots in others)}) == 6


def test_fingerprint_takes_names_that_are_no_text(folder):
    before = PictureRoots([folder]).fingerprint()
    with open(os.fsencode(folder) + b"/\xff.jpg", "wb"):
        pass
    assert PictureRoots([folder]).fingerprint() != before

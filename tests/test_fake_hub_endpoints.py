"""The endpoints of the tests' Hub, over plain HTTP; test_fake_hub.py shows that the libraries agree."""

import base64
import http.client
import json

import pytest

from tests.fake_hub import FakeHub

SHA256_OF_HELLO = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"  # of "hello\n", by sha256sum
GIT_OID_OF_HELLO = "ce013625030ba8dba906f756967f9e9ca394464a"  # by git hash-object
GIT_OID_OF_NOTHING = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


@pytest.fixture
def hub():
    with FakeHub() as hub:
        yield hub


def ask(hub, method, path, body=None, token="hf_dummy", **headers):
    """Status, headers and content of the answer."""
    if not isinstance(body, bytes | None):
        body = json.dumps(body).encode()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


def commit(hub, *operations, parent=None, to="main", **options):
    header = {"summary": "A change"} | ({"parentCommit": parent} if parent else {})
    lines = [{"key": "header", "value": header}, *({"key": key, "value": value} for key, value in operations)]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return ask(hub, "POST", f"/api/datasets/user/posts/commit/{to}", body, **options)


def add(path, content):
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


@pytest.fixture
def posts(hub):
    """A Hub with the data set user/posts and two files in it."""
    repo = {"name": "posts", "organization": "user", "type": "dataset"}
    assert ask(hub, "POST", "/api/repos/create", repo)[0] == 200
    assert ask(hub, "PUT", f"/lfs/{SHA256_OF_HELLO}", b"hello\n")[0] == 200
    large = ("lfsFile", {"path": "large.bin", "oid": SHA256_OF_HELLO, "size": 6})
    assert commit(hub, add("notes.txt", b"hello\n"), large)[0] == 200
    return hub


@pytest.mark.parametrize(
    ("wanted", "status", "content", "range_sent"),
    [
        (None, 200, b"hello\n", None),
        ("bytes=0-0", 206, b"h", "bytes 0-0/6"),
        ("bytes=1-3", 206, b"ell", "bytes 1-3/6"),
        ("bytes=4-99", 206, b"o\n", "bytes 4-5/6"),
        ("bytes=2-", 206, b"llo\n", "bytes 2-5/6"),
        ("bytes=-2", 206, b"o\n", "bytes 4-5/6"),
        ("bytes=-99", 206, b"hello\n", "bytes 0-5/6"),
        ("bytes=6-", 416, b"", "bytes */6"),
    ],
)
def test_a_range_is_answered_with_its_bytes(posts, wanted, status, content, range_sent):
    headers = {"Range": wanted} if wanted else {}
    answer = ask(posts, "GET", "/datasets/user/posts/resolve/main/large.bin", **headers)
    assert (answer[0], answer[2], answer[1]["Content-Range"]) == (status, content, range_sent)


@pytest.mark.parametrize(
    ("path", "size", "oid"),
    [
        ("notes.txt", 6, GIT_OID_OF_HELLO),
        ("large.bin", 6, SHA256_OF_HELLO),
        ("empty.bin", 0, GIT_OID_OF_NOTHING),  # clients send it as a small one, whatever its name
    ],
)
def test_head_tells_size_and_id_without_content(posts, path, size, oid):
    assert commit(posts, add("empty.bin", b""))[0] == 200
    status, headers, content = ask(posts, "HEAD", f"/datasets/user/posts/resolve/main/{path}")
    assert (status, headers["Content-Length"], content) == (200, str(size), b"")
    assert headers["ETag"] == f'"{oid}"'
    assert headers["X-Repo-Commit"] == posts.commits("user/posts")[-1].id


def test_a_file_that_is_missing_comes_with_the_commit_that_lacks_it(posts):
    _, headers, _ = ask(posts, "HEAD", "/datasets/user/posts/resolve/main/none")
    assert headers["X-Repo-Commit"] == posts.commits("user/posts")[-1].id


def test_sizes_are_told_to_those_who_ask(posts):
    names = [".gitattributes", "large.bin", "notes.txt"]
    for query, known in (("", {"rfilename"}), ("?blobs=true", {"rfilename", "size", "blobId"})):
        files = json.loads(ask(posts, "GET", f"/api/datasets/user/posts{query}")[2])["siblings"]
        assert [file["rfilename"] for file in files] == names
        assert all(known <= set(file) for file in files)
        assert any("lfs" in file for file in files) == ("size" in known)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/datasets/user/others", "RepoNotFound"),
        ("/api/models/user/posts", "RepoNotFound"),
        ("/api/models/bert", "RepoNotFound"),
        ("/user/posts/resolve/main/notes.txt", "RepoNotFound"),
        ("/bert/resolve/main/config.json", "RepoNotFound"),
        ("/api/datasets/user/posts/revision/refs%2Fconvert%2Fparquet", "RevisionNotFound"),
        ("/datasets/user/posts/resolve/0123abc/notes.txt", "RevisionNotFound"),
        ("/datasets/user/posts/resolve/main/note", "EntryNotFound"),
        ("/datasets/user/posts/resolve/main/%E6%97%A5.txt", "EntryNotFound"),
        ("/api/datasets/user/posts/tree/main/notes", "EntryNotFound"),
    ],
)
def test_what_is_missing_is_named_by_a_code(posts, path, code):
    status, headers, _ = ask(posts, "GET", path)
    assert (status, headers["X-Error-Code"]) == (404, code)
    assert posts.unhandled == []


def test_requests_are_recorded_and_unknown_ones_apart(posts):
    before = len(posts.requests)
    assert ask(posts, "GET", "/api/datasets/user/posts?blobs=true")[0] == 200
    status, headers, _ = ask(posts, "DELETE", "/api/datasets/user/posts%20two", b"{}")
    assert (status, headers["X-Error-Code"]) == (404, None)
    unknown = ("DELETE", "/api/datasets/user/posts two")
    assert posts.requests[before:] == [("GET", "/api/datasets/user/posts"), unknown]
    assert posts.unhandled == [unknown]


def test_nothing_is_written_without_a_token(posts):
    repo, before = {"name": "new", "type": "model"}, posts.commits("user/posts")
    assert ask(posts, "POST", "/api/repos/create", repo, token=None)[0] == 401
    assert ask(posts, "GET", "/api/models/user/new")[0] == 404
    assert commit(posts, add("a.txt", b"a"), token=None)[0] == 401
    for path in ("/api/datasets/user/posts/preupload/main", "/datasets/user/posts.git/info/lfs/objects/batch"):
        assert ask(posts, "POST", path, {"files": [], "objects": []})[0] == 200
        assert ask(posts, "POST", path, {"files": [], "objects": []}, token=None)[0] == 401
    assert posts.commits("user/posts") == before
    assert ask(posts, "GET", "/datasets/user/posts/resolve/main/notes.txt", token=None)[0] == 200


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (("lfsFile", {"path": "b.bin", "oid": "0" * 64, "size": 1}), 400),  # its content was never sent
        (("renamedFile", {"path": "notes.txt"}), 400),
        (("deletedFile", {"path": "note"}), 404),
        (("deletedFolder", {"path": "notes"}), 404),
    ],
)
def test_a_commit_is_made_whole_or_not_at_all(posts, operation, status):
    before = posts.commits("user/posts")
    assert commit(posts, add("a.txt", b"a"), operation)[0] == status
    assert posts.commits("user/posts") == before


def test_a_commit_that_does_not_know_the_last_one_is_refused(posts):
    first, last = posts.commits("user/posts")
    assert commit(posts, add("a.txt", b"a"), parent=first.id)[0] == 412
    assert commit(posts, add("a.txt", b"a"), parent=last.id)[0] == 200
    assert [len(one.files) for one in posts.commits("user/posts")] == [1, 3, 4]


def test_a_branch_goes_its_own_way(posts):
    before = posts.commits("user/posts")
    assert commit(posts, add("a.txt", b"a"), to="other")[0] == 404
    assert [ask(posts, "POST", "/api/datasets/user/posts/branch/other", {})[0] for _ in range(2)] == [200, 409]
    assert commit(posts, add("a.txt", b"a"), to="other")[0] == 200
    assert posts.commits("user/posts") == before
    assert posts.commits("user/posts", branch="other")[:-1] == before
    found = {to: ask(posts, "GET", f"/datasets/user/posts/resolve/{to}/a.txt")[0] for to in ("main", "other")}
    assert found == {"main": 404, "other": 200}


def test_a_pull_request_is_a_branch_that_nobody_took(posts):
    before = posts.commits("user/posts")
    for number in (1, 2):
        status, _, content = commit(posts, add("a.txt", b"a"), to="main?create_pr=1")
        assert status == 200
        assert json.loads(content)["pullRequestUrl"] == f"{posts.url}/datasets/user/posts/discussions/{number}"
        assert posts.commits("user/posts", branch=f"refs/pr/{number}")[-1].files["a.txt"] == b"a"
    assert posts.commits("user/posts") == before


def test_what_was_made_private_is_marked(posts):
    assert ask(posts, "POST", "/api/repos/create", {"name": "own", "type": "model", "private": True})[0] == 200
    for path, private in (("datasets/user/posts", False), ("models/user/own", True)):
        assert json.loads(ask(posts, "GET", f"/api/{path}")[2])["private"] is private


def test_a_deleted_folder_leaves_its_namesakes(posts):
    commit(posts, add("data/a/1.txt", b"1"), add("data/2.txt", b"2"), add("data2/3.txt", b"3"), add("data.txt", b"4"))
    assert commit(posts, ("deletedFolder", {"path": "data"}))[0] == 200
    assert set(posts.files("user/posts")) == {".gitattributes", "notes.txt", "large.bin", "data2/3.txt", "data.txt"}


def test_a_content_with_another_hash_than_announced_is_refused(posts):
    assert ask(posts, "PUT", f"/lfs/{'0' * 64}", b"hello\n")[0] == 400

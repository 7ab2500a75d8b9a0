"""What a Hugging Face Hub answers, without the server: repositories of models and data sets, in memory."""

import base64
import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

USER = "user"  # whom every token belongs to
DATE = "2026-01-01T00:00:00.000Z"
LFS_SUFFIXES = (".parquet", ".arrow", ".safetensors", ".bin", ".jpg", ".jpeg", ".png", ".zip")

# Matched with the path as it was sent, where the "/" of a quoted revision does not look like one between two parts.
API_REPO = r"/api/(?P<kind>models|datasets)/(?P<repo_id>[^/]+(?:/[^/]+)?)"
WEB_REPO = r"/(?:(?P<kind>datasets)/)?(?P<repo_id>[^/]+(?:/[^/]+)?)"
REVISION = r"(?P<revision>[^/]+)"
# Method, path, the method of `Endpoints` that answers, and whether it changes something and hence needs a token. Large
# contents are sent without one, as to the signed addresses of the real Hub.
ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami", False),
    ("POST", r"/api/validate-yaml", "accept_card", False),
    ("POST", r"/api/repos/create", "create_repo", True),
    ("GET", rf"{API_REPO}(?:/revision/{REVISION})?", "repo_info", False),
    ("GET", rf"{API_REPO}/tree/{REVISION}(?:/(?P<path>.+))?", "tree", False),
    ("POST", rf"{API_REPO}/paths-info/{REVISION}", "paths_info", False),
    ("POST", rf"{API_REPO}/preupload/{REVISION}", "upload_modes", True),
    ("POST", rf"{WEB_REPO}\.git/info/lfs/objects/batch", "lfs_batch", True),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_upload", False),
    ("POST", rf"{API_REPO}/commit/{REVISION}", "commit", True),
    ("POST", rf"{API_REPO}/branch/{REVISION}", "create_branch", True),
    ("GET", rf"{WEB_REPO}/resolve/{REVISION}/(?P<path>.+)", "file", False),
    # The data set viewer is another host, whose name the libraries derive from the endpoint's.
    ("GET", r"http://datasets-server\..*", "no_viewer", False),
]


class Commit(NamedTuple):
    """A commit, with all files as they are after it."""

    id: str
    title: str
    files: dict[str, bytes]


class Request(NamedTuple):
    """What an endpoint may look at."""

    part: dict[str, str | None]  # of the path: kind, repo_id, revision, path, oid
    query: dict[str, list[str]]
    headers: dict[str, str]  # with names in lower case
    body: bytes


class Reply(NamedTuple):
    """What an endpoint answers: bytes, or anything else to be sent as JSON."""

    content: object
    status: int
    headers: dict[str, str]


class Refusal(Exception):
    """Ends a request with an error, whose `code` tells the client which 404 it is."""

    def __init__(self, status: int, message: str, code: str = "", commit: str = ""):
        super().__init__(message)
        in_ascii = message.encode("ascii", "backslashreplace").decode()
        headers = {"X-Error-Message": in_ascii, "X-Error-Code": code, "X-Repo-Commit": commit}
        self.reply = Reply({"error": message}, status, {name: value for name, value in headers.items() if value})


class Endpoints:
    """The state of a Hub at `url`, and a method for each kind of request."""

    def __init__(self, url: str):
        self.url = url
        self.repos: dict[tuple[str, str], list[Commit]] = {}  # by ("datasets", "user/name"), the oldest commit first
        self.branches: dict[tuple[str, str], dict[str, list[Commit]]] = {}  # likewise, beside main; and proposals
        self.private: set[tuple[str, str]] = set()
        self.lfs: dict[str, bytes] = {}  # large contents, by SHA-256

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply | None:
        """The reply of the endpoint that `ROUTES` names, if there is one."""
        path, _, query = target.partition("?")
        for route_method, pattern, endpoint, is_write in ROUTES:
            match = re.fullmatch(pattern, path)
            if not match or method != route_method:
                continue
            part = {name: value and unquote(value) for name, value in match.groupdict().items()}
            try:
                if is_write and "authorization" not in headers:
                    raise Refusal(401, "Invalid username or password.")
                reply = getattr(self, endpoint)(Request(part, parse_qs(query), headers, body))
            except Refusal as refusal:
                return refusal.reply
            return reply if isinstance(reply, Reply) else Reply(reply, 200, {})
        return None

    def whoami(self, request: Request) -> dict:
        return {"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}}

    def accept_card(self, request: Request) -> dict:
        return {"errors": [], "warnings": []}

    def no_viewer(self, request: Request) -> dict:
        raise Refusal(404, "The viewer does not have this data set.")

    def create_repo(self, request: Request) -> dict | Reply:
        wanted = json.loads(request.body)
        key = (f"{wanted.get('type') or 'model'}s", f"{wanted.get('organization') or USER}/{wanted['name']}")
        if key in self.repos:
            return Reply({"error": "You already created this repo.", "url": self.web_url(*key)}, 409, {})
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
        self.repos[key], self.branches[key] = [], {}
        if wanted.get("private") or wanted.get("visibility") == "private":  # as of 1.x and of 2.x
            self.private.add(key)
        self.append(key, self.repos[key], "initial commit", {".gitattributes": attributes.encode()})
        return {"url": self.web_url(*key), "name": key[1], "id": key[1]}

    def repo_info(self, request: Request) -> dict:
        commit = self.snapshot(request)
        files = [describe(path, content) for path, content in sorted(commit.files.items())]
        if "blobs" not in request.query:
            files = [{"rfilename": file["rfilename"]} for file in files]
        private = (request.part["kind"], request.part["repo_id"]) in self.private
        flags = {"private": private, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
        about = {"id": request.part["repo_id"], "createdAt": DATE, "lastModified": DATE}
        return about | flags | {"sha": commit.id, "siblings": files}

    def tree(self, request: Request) -> list[dict]:
        folder = request.part["path"]
        prefix = f"{folder}/" if folder else ""
        found = [entry for path, entry in entries(self.snapshot(request)).items() if path.startswith(prefix)]
        if folder and not found:
            raise Refusal(404, f"{folder} does not exist.", "EntryNotFound")
        if request.query.get("recursive", ["false"])[0].lower() == "true":
            return found
        return [entry for entry in found if "/" not in entry["path"].removeprefix(prefix)]

    def paths_info(self, request: Request) -> list[dict]:
        known = entries(self.snapshot(request))
        return [known[path] for path in parse_qs(request.body.decode())["paths"] if path in known]

    def upload_modes(self, request: Request) -> dict:
        """How each file is to be sent, and the id under which the path is there: clients skip what has not changed."""
        files, answers = self.snapshot(request).files, []
        for path in (file["path"] for file in json.loads(request.body)["files"]):
            oid = etag(path, files[path]) if path in files else None
            mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def lfs_batch(self, request: Request) -> dict:
        """Where to send large contents; without an address for those that are there."""
        self.repo(request)
        objects = [{"oid": item["oid"], "size": item["size"]} for item in json.loads(request.body)["objects"]]
        for item in objects:
            if item["oid"] not in self.lfs:
                item["actions"] = {"upload": {"href": f"{self.url}/lfs/{item['oid']}", "header": {}}}
        return {"transfer": "basic", "objects": objects}

    def lfs_upload(self, request: Request) -> bytes:
        if hashlib.sha256(request.body).hexdigest() != request.part["oid"]:
            raise Refusal(400, "The content does not have the SHA-256 that was announced.")
        self.lfs[request.part["oid"]] = request.body
        return b""

    def create_branch(self, request: Request) -> dict | Reply:
        """A branch that begins where main is."""
        main, branches = self.repo(request), self.branches[request.part["kind"], request.part["repo_id"]]
        if request.part["revision"] in branches:
            return Reply({"error": "Reference already exists."}, 409, {})
        branches[request.part["revision"]] = list(main)
        return {}

    def commit(self, request: Request) -> dict:
        """One commit with all operations of the request, or none; on a branch of its own if it is a proposal."""
        key = (request.part["kind"], request.part["repo_id"])
        commits, branches = self.repo(request), self.branches[key]
        pull_request = {}
        if "create_pr" in request.query:
            number = 1 + sum(name.startswith("refs/pr/") for name in branches)
            commits, pull_request = list(commits), {"pullRequestUrl": f"{self.web_url(*key)}/discussions/{number}"}
        elif request.part["revision"] != "main":
            if request.part["revision"] not in branches:
                raise Refusal(404, f"Invalid rev id: {request.part['revision']}", "RevisionNotFound")
            commits = branches[request.part["revision"]]
        last = commits[-1]
        header, *operations = map(json.loads, request.body.splitlines())
        if header["value"].get("parentCommit", last.id) != last.id:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = dict(last.files)
        for operation in operations:
            self.apply(operation["key"], operation["value"], files)
        new = self.append(key, commits, header["value"]["summary"], files)
        if pull_request:
            branches[f"refs/pr/{number}"] = commits
        address = f"{self.web_url(*key)}/commit/{new.id}"
        return {"success": True, "commitOid": new.id, "commitUrl": address} | pull_request

    def apply(self, operation: str, value: dict, files: dict[str, bytes]) -> None:
        """Change `files` by one operation of a commit."""
        path = value["path"]
        if operation == "file":
            files[path] = base64.b64decode(value["content"])
        elif operation == "lfsFile" and value["oid"] in self.lfs:
            files[path] = self.lfs[value["oid"]]
        elif operation in ("deletedFile", "deletedFolder"):
            folder = f"{path.rstrip('/')}/"
            gone = {name for name in files if name.startswith(folder)} if operation == "deletedFolder" else {path}
            if not gone or not gone <= files.keys():
                raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for name in gone:
                del files[name]
        else:
            raise Refusal(400, f"{operation} of {path}: no such operation, or its content has not been sent.")

    def file(self, request: Request) -> Reply:
        """The content of a file, or the range of it that is asked for."""
        commit, path = self.snapshot(request), request.part["path"]
        if path not in commit.files:
            raise Refusal(404, f"{path} does not exist.", "EntryNotFound", commit.id)
        content = commit.files[path]
        headers = {"ETag": f'"{etag(path, content)}"', "X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if not asked:
            return Reply(content, 200, headers)
        first, last = asked.groups()
        start = int(first) if first else max(len(content) - int(last), 0)
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        if start >= stop:
            return Reply(b"", 416, headers | {"Content-Range": f"bytes */{len(content)}"})
        return Reply(content[start:stop], 206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})

    def repo(self, request: Request) -> list[Commit]:
        """The commits of the repository that the path names."""
        key = (request.part["kind"] or "models", request.part["repo_id"])
        if key not in self.repos:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return self.repos[key]

    def snapshot(self, request: Request) -> Commit:
        """The commit that the path names: by its id, or the last one by its branch; of main by nothing."""
        main, branches = self.repo(request), self.branches[request.part["kind"] or "models", request.part["repo_id"]]
        commits = {commit.id: commit for line in (main, *branches.values()) for commit in line}
        commits |= {name: line[-1] for name, line in branches.items()} | {None: main[-1], "main": main[-1]}
        if request.part["revision"] not in commits:
            raise Refusal(404, f"Invalid rev id: {request.part['revision']}", "RevisionNotFound")
        return commits[request.part["revision"]]

    def append(self, key: tuple[str, str], commits: list[Commit], title: str, files: dict[str, bytes]) -> Commit:
        """The new last commit, with an id that follows from the repository and the titles of all its commits."""
        before = commits[-1].id if commits else "/".join(key)
        commits.append(Commit(hashlib.sha1(f"{before}\n{title}".encode()).hexdigest(), title, files))
        return commits[-1]

    def web_url(self, kind: str, repo_id: str) -> str:
        return f"{self.url}/{repo_id}" if kind == "models" else f"{self.url}/{kind}/{repo_id}"


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def etag(path: str, content: bytes) -> str:
    """The id under which clients cache a file: git's, or the SHA-256 of a large one. Empty ones are not large."""
    return hashlib.sha256(content).hexdigest() if content and path.endswith(LFS_SUFFIXES) else git_oid(content)


def describe(path: str, content: bytes) -> dict:
    """A file under both sets of names that the endpoints use: `rfilename` and `blobId`, `path` and `oid`."""
    size, in_git, lfs = len(content), content, {}
    if content and path.endswith(LFS_SUFFIXES):
        sha256 = etag(path, content)
        in_git = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        lfs = {"lfs": {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": len(in_git)}}
    oid = git_oid(in_git)
    return {"type": "file", "path": path, "rfilename": path, "size": size, "oid": oid, "blobId": oid, **lfs}


def entries(commit: Commit) -> dict[str, dict]:
    """All files and folders by path, described."""
    found = {path: describe(path, content) for path, content in commit.files.items()}
    for folder in {str(parent) for path in commit.files for parent in PurePosixPath(path).parents} - {"."}:
        found[folder] = {"type": "directory", "path": folder, "size": 0, "oid": git_oid(folder.encode())}
    return dict(sorted(found.items()))

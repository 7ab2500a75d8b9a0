"""A Hugging Face Hub in memory, on 127.0.0.1, for tests that push and load models and data sets.

The libraries read their endpoint when they are imported, and the tests' own process is offline. What talks to this Hub
therefore runs in a process of its own, by `run_with_hub`. A conftest that imports `fake_hub` has it as a fixture.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote

import pytest

from tests.fake_hub_endpoints import Commit, Endpoints, Refusal, Reply

ROOT = Path(__file__).resolve().parents[1]


class FakeHub:
    """A Hub to be used in a ``with`` block, which starts and stops its server.

    Every commit keeps its own copy of the files; a revision is ``main``, a branch, a pull request (``refs/pr/1``) or a
    commit's id. Any token will do, and what is private is shown to everybody, marked as such.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        requests: Method and path of all requests in their order. Those to other hosts come here too, with the host.
        unhandled: Those of `requests` that no endpoint knows; they are answered with 404.
    """

    def __init__(self):
        self.requests: list[tuple[str, str]] = []
        self.unhandled: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._endpoints = Endpoints(self.url)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, repo_id: str, repo_type: str = "dataset") -> dict[str, bytes]:
        """Contents by path, as of the last commit."""
        return dict(self.commits(repo_id, repo_type)[-1].files)

    def commits(self, repo_id: str, repo_type: str = "dataset", branch: str = "main") -> list[Commit]:
        """All commits, the oldest first. As on the real Hub the first was made with the repository: .gitattributes.

        Raises:
            KeyError: If there is no such repository or branch.
        """
        key, endpoints = (f"{repo_type}s", repo_id), self._endpoints
        with self._lock:
            return list(endpoints.repos[key] if branch == "main" else endpoints.branches[key][branch])

    def environment(self, home: Path) -> dict[str, str]:
        """This process's environment, with this Hub as the only host and `home` for what the libraries store.

        Proxies lead here too: a request to another host is found in `unhandled`, instead of leaving the machine.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) and not name.lower().endswith("_proxy")
        }
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": "hf_dummy",
            "HF_HOME": str(home),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "http_proxy": self.url,
            "https_proxy": self.url,
            "no_proxy": "127.0.0.1",
        }

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """The reply to a request, which is recorded."""
        asked = (method, unquote(target.partition("?")[0]))
        with self._lock:
            self.requests.append(asked)
            reply = self._endpoints.answer("GET" if method == "HEAD" else method, target, headers, body)
            if reply is None:
                self.unhandled.append(asked)
                return Refusal(404, "This Hub does not know {} {}".format(*asked)).reply
        return reply


class _Handler(BaseHTTPRequestHandler):
    """Carries requests to the server's `hub`, and its replies back."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # else headers and content leave one by one, and the second waits until the first is acknowledged

    def log_message(self, *_) -> None:
        pass

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.server.hub.answer(self.command, self.path, headers, body)
        content, kind = reply.content, "application/octet-stream"
        if not isinstance(content, bytes):
            content, kind = json.dumps(content).encode(), "application/json"
        self.send_response(reply.status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = _handle


def run_with_hub(hub: FakeHub, code: str | list[str], home: Path) -> str:
    """Run a Python process whose Hub is `hub`.

    Args:
        hub: A running Hub.
        code: Python code, or a list of what follows ``python`` on a command line.
        home: The folder to work and to store in, made if need be. With one that is new, all that is loaded comes from
            the Hub and nothing from a cache.

    Returns:
        What the process printed.

    Raises:
        AssertionError: If the process failed, with the end of what it wrote.
    """
    home.mkdir(parents=True, exist_ok=True)
    environment = hub.environment(home)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    command = [sys.executable, *(["-c", code] if isinstance(code, str) else code)]
    run = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout[-1000:] + run.stderr[-4000:]
    return run.stdout


@pytest.fixture(scope="session")
def fake_hub() -> Iterator[FakeHub]:
    """One Hub for all tests of a process: each names its repositories as no other does."""
    with FakeHub() as hub:
        yield hub

"""A Hugging Face Hub on loopback, as far as huggingface_hub asks it: repositories with commits."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Serves what was pushed to it; private where it has a token.

    Attributes:
        token: Without it nothing is served, and a refusal quotes what was given instead.
        late: Arguments of pushes, one of which follows each answer that names a commit.
        loaded: Kind, repository, commit and path of each file whose content was asked for.
    """

    def __init__(self) -> None:
        self.token: str | None = None
        self.late: list[tuple[str, str, Mapping[str, bytes]]] = []
        self.loaded: list[tuple[str, str, str, str]] = []
        self._commits: dict[tuple[str, str], list[tuple[str, dict[str, bytes]]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def push(self, kind: str, name: str, files: Mapping[str, bytes]) -> str:
        """A new commit on main of a repository of `models` or `datasets`; returns its hash."""
        history = self._commits.setdefault((kind, name), [])
        text = repr((kind, name, len(history), sorted(files)))
        history.append((hashlib.sha1(text.encode()).hexdigest(), dict(files)))
        return history[-1][0]

    def find(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that a revision means, and its files."""
        history = self._commits.get((kind, name), [])
        if revision == "main" and history:
            return history[-1]
        return dict(((c, (c, f)) for c, f in history)).get(revision)

    @contextmanager
    def serving(self) -> Iterator[Hub]:
        """Answer while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            self._answer(json.loads(self.rfile.read(size) or b"{}"))

        def do_GET(self) -> None:
            self._answer({})

        def _answer(self, body: dict) -> None:
            given = self.headers.get("Authorization", "")
            if hub.token is not None and given != f"Bearer {hub.token}":
                self._send(401, b"{}", {"X-Error-Message": f"refused: Authorization: {given}"})
                return
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            if parts[0] == "api" and parts[1:2] in (["models"], ["datasets"]):
                kind, name, rest = parts[1], "/".join(parts[2:4]), parts[4:]
                self._describe(kind, name, rest, body)
            elif "resolve" in parts:
                kind = "datasets" if parts[0] == "datasets" else "models"
                parts = parts[1:] if kind == "datasets" else parts
                self._resolve(kind, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            else:
                self._send(404, b"{}", {})

        def _describe(self, kind: str, name: str, rest: list[str], body: dict) -> None:
            what, revision = (*rest, "revision", "main")[:2] if len(rest) > 1 else ("", "main")
            found = hub.find(kind, name, revision)
            if found is None:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return
            commit, files = found
            entries = [
                {"type": "file", "path": path, "size": len(data), "oid": _etag(data)}
                for path, data in files.items()
            ]
            if what == "tree":
                below = "/".join(rest[2:])
                self._json([entry for entry in entries if str(entry["path"]).startswith(below)])
            elif what == "paths-info":
                wanted = body.get("paths", [])
                self._json([entry for entry in entries if entry["path"] in wanted])
            else:
                siblings = [{"rfilename": path} for path in files]
                about = {"id": name, "sha": commit, "siblings": siblings, "private": False}
                if hub.late:
                    hub.push(*hub.late.pop(0))
                self._json(about | {"tags": [], "downloads": 0, "likes": 0, "gated": False})

        def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
            found = hub.find(kind, name, revision)
            if found is None or path not in found[1]:
                code = "RevisionNotFound" if found is None else "EntryNotFound"
                self._send(404, b"", {"X-Error-Code": code})
                return
            commit, data = found[0], found[1][path]
            if self.command == "GET":
                hub.loaded.append((kind, name, commit, path))
            self._send(200, data, {"X-Repo-Commit": commit, "ETag": f'"{_etag(data)}"'})

        def _json(self, value: object) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    return Handler


def _etag(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

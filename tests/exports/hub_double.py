"""A Hugging Face hub in a folder: the few routes of the protocol that pushing a folder needs, over loopback HTTP."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_" + "x" * 30


@contextmanager
def hub_in(folder: Path) -> Iterator[str]:
    """Its address. Repositories are folders `<owner>/<name>`; commit messages lie in `<owner>/<name>.log`."""
    handler = type("Handler", (_Hub,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Hub(BaseHTTPRequestHandler):
    folder: Path

    def do_GET(self) -> None:
        if not self._allowed():
            return
        repo = self._repo()
        if self.path.endswith("/revision/main") or "/revision/main?" in self.path:
            files = [{"rfilename": p.relative_to(repo).as_posix()} for p in sorted(repo.rglob("*")) if p.is_file()]
            self._answer({"id": repo.name, "sha": "0" * 40, "siblings": files, "private": False})
        elif "/tree/" in self.path:
            self._answer([
                {"type": "file", "path": p.relative_to(repo).as_posix(), "size": p.stat().st_size, "oid": "0" * 40}
                for p in sorted(repo.rglob("*")) if p.is_file()
            ])  # fmt: skip
        else:
            self._answer({"error": f"no route {self.path}"}, status=404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._allowed():
            return
        if self.path == "/api/repos/create":
            said = json.loads(body)
            name = "/".join(part for part in (said.get("organization"), said["name"]) if part)
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            self._answer({"url": f"{self._base}/datasets/{name}", "name": name, "id": name})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/main" in self.path:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif "/commit/main" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer({"error": f"no route {self.path}"}, status=404)

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        repo = self._repo()
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                (repo / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "deletedFile":
                (repo / value["path"]).unlink()
            else:
                with repo.with_suffix(".log").open("a") as log:
                    log.write(value["summary"] + "\n")
        self._answer(
            {"commitUrl": f"{self._base}/datasets/{repo.parent.name}/{repo.name}/commit/1", "commitOid": "1" * 40}
        )

    def _repo(self) -> Path:
        owner, name = self.path.removeprefix("/api/datasets/").split("/")[:2]
        return self.folder / owner / name

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer({"error": "Invalid credentials"}, status=401)
        return False

    @property
    def _base(self) -> str:
        return f"http://{self.headers['Host']}"

    def _answer(self, said: Any, *, status: int = 200) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Silent."""

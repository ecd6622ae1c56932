"""A fake of Google Cloud Storage in memory: as much of its JSON API as is used here.

Objects appear whole, have generations, and writing, reading and deleting may be
conditional on them. Lists are given in pages of a few names, so that whoever reads
them has to ask for the next one.
"""

import base64
import contextlib
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

BUCKET = "tests"
PAGE = 7  # names


class Object(NamedTuple):
    generation: int
    content: bytes


class Refused(Exception):
    """An HTTP status that is no success."""


class FakeStorage(ThreadingHTTPServer):
    """The one bucket and what is in it.

    Attributes:
      objects: by name.
    """

    def __init__(self) -> None:
        super().__init__(("localhost", 0), _Handler)
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}  # begun: name, bytes so far
        self._generations = itertools.count(1)
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_port}"

    def write(self, name: str, content: bytes, asked: dict[str, str]) -> dict[str, Any]:
        with self.lock:
            self.check(name, asked)
            self.objects[name] = Object(next(self._generations), content)
            return self.describe(name)

    def check(self, name: str, asked: dict[str, str]) -> None:
        """Refuses unless the object's generation (0: none) is as asked."""
        there = self.objects[name].generation if name in self.objects else 0
        if int(asked.get("ifGenerationMatch", there)) != there:
            raise Refused(412)
        if int(asked.get("ifGenerationNotMatch", -1)) == there:
            raise Refused(304)

    def describe(self, name: str) -> dict[str, Any]:
        generation, content = self.objects[name]
        return {
            "kind": "storage#object",
            "bucket": BUCKET,
            "name": name,
            "size": str(len(content)),
            "generation": str(generation),
            "metageneration": "1",
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "timeCreated": "2020-01-01T00:00:00.000Z",
            "updated": "2020-01-01T00:00:00.000Z",
        }

    def list(self, asked: dict[str, str]) -> dict[str, Any]:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
        found = set()
        for name in list(self.objects):
            if name.startswith(prefix):
                rest = name.removeprefix(prefix)
                head, cut, _ = (
                    rest.partition(delimiter) if delimiter else (rest, "", "")
                )
                found.add(prefix + head + cut)
        begin = int(asked.get("pageToken", 0))
        end = begin + min(PAGE, int(asked.get("maxResults", PAGE)))
        page = sorted(found)[begin:end]
        return {
            "kind": "storage#objects",
            "items": [self.describe(name) for name in page if name in self.objects],
            "prefixes": [name for name in page if name not in self.objects],
        } | ({"nextPageToken": str(end)} if end < len(found) else {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeStorage

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):  # of clients that were killed
            super().handle_one_request()

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_POST(self) -> None:
        self._serve(self._upload)

    def do_DELETE(self) -> None:
        self._serve(self._delete)

    def _serve(self, answer: Any) -> None:
        parts = urlsplit(self.path)
        self.asked = dict(parse_qsl(parts.query))
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        where = re.fullmatch(
            r"(?:/upload|/download)?/storage/v1/b/([^/]+)/o(?:/(.*))?", parts.path
        )
        try:
            if not where or where[1] != BUCKET:
                raise Refused(404)
            answer(unquote(where[2] or ""))
        except Refused as refused:
            self._reply(b"", refused.args[0])

    def _reply(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _reply_json(self, value: Any) -> None:
        self._reply(json.dumps(value).encode(), Content_Type="application/json")

    def _get(self, name: str) -> None:
        if not name:
            self._reply_json(self.server.list(self.asked))
            return
        if name not in self.server.objects:
            raise Refused(404)
        self.server.check(name, self.asked)
        if self.asked.get("alt") != "media":
            self._reply_json(self.server.describe(name))
            return
        generation, content = self.server.objects[name]
        headers = {"x_goog_generation": str(generation)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            self._reply(content, **headers)
            return
        size = len(content)
        first, last = wanted.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= size:
            raise Refused(416)
        headers["Content_Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._reply(content[start:stop], 206, **headers)

    def _upload(self, _: str) -> None:
        if "upload_id" in self.asked:
            self._continue()
            return
        kind = self.asked["uploadType"]
        if kind == "resumable":
            upload = str(len(self.server.uploads))
            self.server.uploads[upload] = self.asked["name"], b""
            place = f"{self.server.url}/upload/storage/v1/b/{BUCKET}/o"
            self._reply(b"", Location=f"{place}?upload_id={upload}")
            return
        name, content = self.asked.get("name", ""), self.body
        if kind == "multipart":
            # Two parts, each with a header, and their boundary around them.
            mark = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
            assert mark
            _, about, rest = self.body.split(b"--" + mark[1].encode() + b"\n", 2)
            name = json.loads(about.partition(b"\n\n")[2])["name"]
            content = rest.rpartition(b"\n--" + mark[1].encode())[0]
            content = content.partition(b"\n\n")[2]
        self._reply_json(self.server.write(name, content, self.asked))

    def _continue(self) -> None:
        upload = self.asked["upload_id"]
        name, before = self.server.uploads[upload]
        content = before + self.body
        self.server.uploads[upload] = name, content
        if self.headers["Content-Range"].endswith("/*"):
            self._reply(b"", 308, Range=f"bytes=0-{len(content) - 1}")
        else:
            self._reply_json(self.server.write(name, content, {}))

    def _delete(self, name: str) -> None:
        with self.server.lock:
            if name not in self.server.objects:
                raise Refused(404)
            self.server.check(name, self.asked)
            del self.server.objects[name]
        self._reply(b"", 204)


@contextlib.contextmanager
def fake_storage() -> Iterator[FakeStorage]:
    """Runs one while in the context."""
    with FakeStorage() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()

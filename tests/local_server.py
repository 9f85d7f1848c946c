"""A web server on 127.0.0.1 that behaves as badly as a test asks it to."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Page:
    """What one address answers.

    ``failures`` answers of status 503 come first; ``cut`` bytes of the promised body are not
    sent; ``stall`` seconds pass in the middle of the body.
    """

    body: bytes = b""
    status: int = 200
    failures: int = 0
    cut: int = 0
    stall: float = 0.0


@dataclass
class LocalServer:
    """``pages`` by path, and the paths that were asked for, in order."""

    address: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, path: str, page: Page) -> str:
        self.pages[path] = page
        return self.address + path


@contextmanager
def serve() -> Iterator[LocalServer]:
    state: LocalServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            page = state.pages.get(self.path, Page(b"not here", 404))
            if page.failures:
                page.failures -= 1
                page = Page(b"busy", 503)
            self.send_response(page.status)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            half = len(page.body) // 2
            self.wfile.write(page.body[:half])
            self.wfile.flush()
            time.sleep(page.stall)
            self.wfile.write(page.body[half : len(page.body) - page.cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        state = LocalServer(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def tar_of(folder: Path, top: str) -> bytes:
    """The folder as an official archive holds it: below one folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(folder, arcname=top)
    return stream.getvalue()


def tar_with(files: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """An archive with these names, written as they are, and these other members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    return stream.getvalue()

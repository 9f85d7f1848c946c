"""kptk.io.images: pictures by URL, against a local server. Expected values are by hand."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from PIL import Image

from kptk.errors import InputError
from kptk.io import images as web
from kptk.io.images import fetch, read_image


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (1, 2, 3)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        routes = {
            "/a.png": (200, PICTURE),
            "/%C3%BC%20b.png": (200, PICTURE),
            "/page": (200, b"<html>not a picture</html>"),
            "/empty": (200, b""),
            "/big": (200, b"x" * 5000),
            "/file": (302, b"file:///etc/hostname"),
            "/ftp": (302, b"ftp://127.0.0.1:9/a.png"),
        }
        status, body = routes.get(self.path, (404, b""))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", body.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("page", ["/a.png", "/ü b.png", "/%C3%BC%20b.png"])
def test_a_picture_by_url(server: str, page: str) -> None:
    assert (read_image(server + page) == (1, 2, 3)).all()


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("/page", "HTML page"),
        ("/empty", "empty"),
        ("/big", "too large"),
        ("/missing.png", "says 404"),
        ("/file", "302"),  # redirects lead to no files and no other protocols
        ("/ftp", "unknown url type: ftp"),
    ],
)
def test_bad_answers_say_so(
    server: str, page: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_DOWNLOAD_BYTES", 4000)
    with pytest.raises(InputError, match=message):
        read_image(server + page)


def test_the_page_that_comes_with_a_redirect_is_not_read(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "DOWNLOAD_TIMEOUT", 2)
    with socket.create_server(("127.0.0.1", 0)) as endless:

        def redirect() -> None:
            line, _ = endless.accept()
            head = (
                f"HTTP/1.1 302 Found\r\nLocation: {server}/a.png\r\nContent-Length: 99999\r\n\r\n"
            )
            line.sendall(head.encode() + b"more to come")
            kept.append(line)

        kept: list[socket.socket] = []
        threading.Thread(target=redirect, daemon=True).start()
        assert fetch(f"http://127.0.0.1:{endless.getsockname()[1]}/") == PICTURE
        kept[0].close()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a.png", "gopher://x/"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="must start with http"):
        read_image(url)


def test_no_server_and_no_network(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch("http://127.0.0.1:9/a.png")
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch("http://[bad/a.png")
    monkeypatch.setenv("KPTK_OFFLINE", "1")
    with pytest.raises(InputError, match="KPTK_OFFLINE"):
        fetch(server + "/a.png")


def test_a_slow_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(InputError, match="timed out"):
            fetch(f"http://127.0.0.1:{port}/a.png")


def test_a_server_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trickle(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return b"x"

    monkeypatch.setattr(web, "DOWNLOAD_TIMEOUT", 0.01)
    with pytest.raises(InputError, match="given up"):
        fetch("http://x/", opener=SimpleNamespace(open=lambda request, timeout: Trickle()))

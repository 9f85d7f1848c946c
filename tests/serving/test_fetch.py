"""Pictures by URL: public addresses only, whatever name, notation or redirect leads elsewhere.

The tests' servers are on 127.0.0.1, so where one must be reached, a faked resolver gives it a
name and ``is_public`` is told to take that address for a public one.
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from kptk.errors import InputError
from kptk.serving import ServeOptions, app
from kptk.serving import fetch as module
from kptk.serving.fetch import fetch_public, is_public
from tests.local_server import LocalServer, Page, serve
from tests.serving.running import PATH, in_threads, picture, right_edge, running, wait_for

MIB = 1 << 20


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("127.255.0.9", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.31.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # the metadata of clouds
        ("100.64.0.1", False),  # shared address space
        ("192.0.2.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("2002:808:808::", True),
        ("64:ff9b::7f00:1", False),  # NAT64 of 127.0.0.1
        ("64:ff9b::808:808", True),
        ("2001:0:0:0:0:0:80ff:fffe", False),  # Teredo of 127.0.0.1
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    """Expected: RFC 6890's registries and the RFCs of each notation, by hand."""
    assert is_public(address) is expected


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serve() as found:
        found.add("/a.png", Page(picture(7)))
        yield found


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1",
        "0", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "user@127.0.0.1",
        "example.com@127.0.0.1", "[::]", "169.254.169.254", "127.0.0.1%2f",
    ],
)  # fmt: skip
def test_no_notation_of_this_machine_gets_through(server: LocalServer, host: str) -> None:
    port = server.address.rpartition(":")[2]
    with pytest.raises(InputError, match=r"not a public address|cannot be fetched"):
        fetch_public(f"http://{host}:{port}/a.png", MIB)
    assert server.asked == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://8.8.8.8/a", "gopher://8.8.8.8/"])
def test_other_schemes(url: str) -> None:
    with pytest.raises(InputError, match="must start with http"):
        fetch_public(url, MIB)


class Names:
    """A resolver that knows a few names, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **known: list[str]) -> None:
        self.known = {name.replace("_", "."): places for name, places in known.items()}
        self.asked: list[str] = []
        monkeypatch.setattr(module.socket, "getaddrinfo", self)

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        places = self.known.get(host, [host])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in places]


def pretend_public(monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> None:
    monkeypatch.setattr(module, "is_public", lambda given: given == address or is_public(given))


def port_of(server: LocalServer) -> str:
    return server.address.rpartition(":")[2]


@pytest.mark.parametrize("places", [["10.0.0.5"], ["8.8.8.8", "127.0.0.1"], ["fd00::1"]])
def test_names_of_private_addresses(monkeypatch: pytest.MonkeyPatch, places: list[str]) -> None:
    Names(monkeypatch, inside_example=places)
    with pytest.raises(InputError, match=r"inside\.example is not a public address"):
        fetch_public("http://inside.example/a.png", MIB)


def test_a_public_picture(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, good_example=["127.0.0.1"])
    pretend_public(monkeypatch)
    assert fetch_public(f"http://good.example:{port_of(server)}/a.png", MIB) == picture(7)
    assert names.asked[0] == "good.example"
    assert names.asked.count("good.example") == 1  # asked again, it might answer something else


def test_proxies_of_the_environment_are_not_used(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    with pytest.raises(InputError, match="not a public address"):
        fetch_public("http://10.0.0.5/a.png", MIB)
    assert server.asked == []


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.2:{port}/a.png", "http://[::1]:{port}/a.png", "http://inside.example/a.png",
     "//127.0.0.2:{port}/a.png", "file:///etc/hostname", "ftp://127.0.0.2/a.png"],
)  # fmt: skip
def test_redirects_to_private_addresses(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    Names(monkeypatch, good_example=["127.0.0.1"], inside_example=["192.168.0.9"])
    pretend_public(monkeypatch)
    with redirecting(target) as (port, asked):
        with pytest.raises(InputError):
            fetch_public(f"http://good.example:{port}/start", MIB)
        assert asked == ["/start"]


def test_redirects_to_public_addresses_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, good_example=["127.0.0.1"])
    pretend_public(monkeypatch)
    with redirecting("/a.png") as (port, asked):
        assert fetch_public(f"http://good.example:{port}/start", MIB) == picture(7)
        assert asked == ["/start", "/a.png"]


def redirecting(target: str) -> Any:
    """A server whose ``/start`` redirects; gives its port and what it was asked for."""
    from contextlib import contextmanager
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = picture(7) if self.path == "/a.png" else b""
            self.send_response(200 if body else 302)
            if not body:
                place = target.format(port=self.server.server_address[1])
                self.send_header("Location", place)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    @contextmanager
    def run() -> Iterator[tuple[int, list[str]]]:
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
            threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
            yield httpd.server_address[1], asked
            httpd.shutdown()

    return run()


def test_too_much_and_too_slow(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_public(monkeypatch)
    server.add("/big", Page(b"x" * 5000))
    with pytest.raises(InputError, match=r"more than .* MiB"):
        fetch_public(server.address + "/big", 4000)
    server.add("/stalls", Page(b"x" * 5000, stall=1.5))
    with pytest.raises(InputError, match=r"more than 0\.2 seconds"):
        fetch_public(server.address + "/stalls", MIB, seconds=0.2)


def test_a_head_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_public(monkeypatch)
    over = threading.Event()

    def trickle(listener: socket.socket) -> None:
        line, _ = listener.accept()
        with line:
            try:
                line.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.02):
                    line.sendall(b"x")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        with pytest.raises(InputError, match="given up"):
            fetch_public(f"http://127.0.0.1:{listener.getsockname()[1]}/", MIB, seconds=0.3)
        over.set()
        thread.join(20)


def test_connections_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three addresses that drop what is sent to them must not take three times as long."""
    given: list[float] = []

    def silent(place: tuple[str, int], timeout: float) -> socket.socket:
        given.append(timeout)
        threading.Event().wait(min(timeout, 1))
        raise TimeoutError("timed out")

    Names(monkeypatch, good_example=["8.8.8.8", "8.8.4.4", "1.1.1.1"])
    monkeypatch.setattr(module.socket, "create_connection", silent)
    with pytest.raises(InputError, match=r"more than 0\.2 seconds"):
        fetch_public("http://good.example/a.png", MIB, seconds=0.2)
    assert all(timeout <= 0.2 for timeout in given)
    assert len(given) <= 1  # none if the machine stood still


def test_tls_checks_the_name_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS hello carries the name in clear: it must be the URL's, not the address."""
    Names(monkeypatch, good_example=["127.0.0.1"])
    pretend_public(monkeypatch)
    hello = bytearray()

    def listen_once(listener: socket.socket) -> None:
        line, _ = listener.accept()
        with line:
            hello.extend(line.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen_once, args=(listener,))
        thread.start()
        with pytest.raises(InputError, match="cannot be fetched"):
            fetch_public(f"https://good.example:{listener.getsockname()[1]}/", MIB)
        thread.join(20)
    assert hello[0] == 0x16  # a handshake
    assert b"good.example" in hello


def test_the_service_fetches_where_that_is_allowed(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (100, 100)).save(buffer, "BMP")
    with running(ServeOptions(allow_urls=True, max_pixels=5000)) as service:

        def ask(url: str) -> requests.Response:
            return requests.post(service.address + PATH, json={"image": url}, timeout=20)

        refused = ask(server.address + "/a.png")
        assert refused.status_code == 422
        assert "not a public address" in refused.json()["errorMsg"]
        assert server.asked == []
        pretend_public(monkeypatch)
        (person,) = ask(server.address + "/a.png").json()["result"]["persons"]
        assert person["bbox"][2] == right_edge(7)
        assert ask(server.add("/large.bmp", Page(buffer.getvalue()))).status_code == 413
        assert ask(server.address + "/missing").status_code == 422


def test_fetched_pictures_wait_in_small_numbers(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_public(monkeypatch)
    monkeypatch.setattr(app, "_FETCHES", 2)
    with running(ServeOptions(allow_urls=True)) as service:
        service.detector.gate.clear()

        def held() -> int:
            return sum(map(len, service.detector.seen)) + service.batcher.waiting

        by_url = in_threads(6, lambda _: service.ask(image=server.address + "/a.png"))
        wait_for(lambda: held() >= 2)
        along = in_threads(1, lambda _: service.ask(1))  # sent along, it does not wait for them
        wait_for(lambda: held() >= 3)
        assert held() == 3
        assert len(server.asked) == 2
        service.detector.gate.set()
        assert [answer.status_code for answer in by_url() + along()] == [200] * 7

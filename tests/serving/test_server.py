"""``kptk serve`` as a process of its own: the demo pair, its start, its end."""

from __future__ import annotations

import base64
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from typer.testing import CliRunner

import kptk
from kptk.cli import app
from kptk.demo import demo_images
from kptk.errors import ConfigError
from kptk.serving.server import listen
from tests.serving.running import (
    PATH,
    PATIENCE,
    in_threads,
    picture,
    read_all,
    right_edge,
    wait_for,
)

COMMAND = (sys.executable, "-c", "from kptk.cli import main; main()")


def environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    paths = (Path(kptk.__file__).parents[1], root)
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}


@contextmanager
def process(*command: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | variables,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_the_demo_pair_answers_as_the_pipeline_does(tmp_path: Path) -> None:
    """Expected: the pipeline's own result, in this process."""
    (tmp_path / "token").write_text("t0ken\n")
    options = ("serve", "-p", "demo", "--port", "0", "--token-file", str(tmp_path / "token"))
    source = demo_images()[0]
    expected = kptk.create_pipeline("demo")(source)
    assert len(expected) > 0
    with process(*COMMAND, *options) as server:
        assert server.stdout is not None and server.stderr is not None
        address = server.stdout.readline().split()[3]
        assert requests.get(address + "/health", timeout=PATIENCE).json()["errorCode"] == 0
        body = {"image": base64.b64encode(source.read_bytes()).decode()}
        assert requests.post(address + PATH, json=body, timeout=PATIENCE).status_code == 401
        headers = {"Authorization": "Bearer t0ken"}
        response = requests.post(address + PATH, json=body, headers=headers, timeout=PATIENCE)
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) == 0
        assert server.stderr.read() == ""
    persons = response.json()["result"]["persons"]
    assert np.array([p["bbox"] for p in persons]) == pytest.approx(expected.boxes, abs=0.01)
    assert np.array([p["kpts"] for p in persons]) == pytest.approx(expected.keypoints, abs=0.01)
    assert [p["detScore"] for p in persons] == pytest.approx(expected.scores.tolist(), abs=1e-4)
    assert [p["kptScore"] for p in persons] == pytest.approx(expected.kpt_scores.tolist(), abs=1e-4)
    drawn = Image.open(io.BytesIO(base64.b64decode(response.json()["result"]["image"])))
    difference = np.asarray(drawn).astype(int) - np.asarray(expected.img).astype(int)
    assert np.abs(difference).mean() < 5  # a JPEG of the same picture


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_has_been_accepted_is_finished(number: signal.Signals) -> None:
    with process(sys.executable, str(Path(__file__).with_name("running.py"))) as server:
        assert server.stdin is not None and server.stdout is not None
        address = server.stdout.readline().strip()
        host, _, port = address.removeprefix("http://").rpartition(":")
        body = {"image": base64.b64encode(picture(1)).decode(), "visualize": False}
        finish = in_threads(1, lambda _: requests.post(address + PATH, json=body, timeout=PATIENCE))
        assert server.stdout.readline() == "working [1]\n"
        with announced(host, int(port), picture(2)) as (line, rest):
            server.send_signal(number)
            wait_for(lambda: not listens(host, int(port)))  # nothing new is taken in
            line.sendall(rest)  # what was begun is
            server.stdin.write("go on\n")
            server.stdin.flush()
            assert server.stdout.readline() == "working [2]\n"
            assert f"[1.0,1.0,{right_edge(2)},9.0]".encode() in read_all(line)
        (response,) = finish()
        assert response.json()["result"]["persons"][0]["bbox"][2] == right_edge(1)
        assert server.stdout.readline() == "ended\n"
        assert server.wait(PATIENCE) == 0


@contextmanager
def announced(host: str, port: int, data: bytes) -> Iterator[tuple[socket.socket, bytes]]:
    """A request that the server is known to have taken up; its body is still to be sent."""
    body = b'{"visualize": false, "image": "' + base64.b64encode(data) + b'"}'
    head = f"Host: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
    with socket.create_connection((host, port), timeout=PATIENCE) as line:
        line.sendall(f"POST {PATH} HTTP/1.1\r\n{head}\r\n\r\n".encode())
        assert b"100 Continue" in line.recv(1 << 16)
        yield line, body


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def command(*options: str, **variables: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["serve", "-p", "demo", *options], env=variables)
    return result.exit_code, result.stderr


def test_a_port_that_is_taken_and_a_host_that_is_not_here() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port}: .*--port 0 takes"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="cannot listen at no-such-host"):
        listen("no-such-host.invalid", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--token-file", "missing"), "missing cannot be read"),
        (("--token-file", "empty"), "must hold a token"),
        (("--token-file", "spaces"), "must hold a token"),
        (("--max-body-mb", "0"), "max_body_mb must be a number above 0. Got 0"),
        (("--timeout", "nan"), "timeout must be a number above 0. Got nan"),
    ],
)
def test_bad_options(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text(" \n")
    Path("spaces").write_text("two words")
    code, said = command(*options)
    assert code == 1
    assert message in said


def test_an_empty_token_in_the_environment_does_not_open_the_door() -> None:
    code, said = command(KPTK_SERVE_TOKEN="")
    assert code == 1
    assert "KPTK_SERVE_TOKEN must hold a token" in said

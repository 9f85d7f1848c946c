"""The clients of docs/clients against a live service, each in its own language.

Python, Node.js, PHP and C++ must be there where KPTK_REQUIRE_CLIENTS=1, as in CI; the others are
run where their tools are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kptk.serving import ServeOptions
from tests.serving.running import PATIENCE, Service, picture, running

CLIENTS = Path(__file__).resolve().parents[2] / "docs" / "clients"
LANGUAGES = ("python", "node", "php", "cpp", "java", "go", "csharp")
REQUIRED = ("python", "node", "php", "cpp")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(ServeOptions(token="t0ken")) as found:
        yield found


@pytest.fixture(scope="module", params=LANGUAGES)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs a language's client."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "python":
        return [sys.executable, str(CLIENTS / "client.py")]
    if request.param == "node":
        return [tool("node"), str(CLIENTS / "client.js")]
    if request.param == "php":
        return [tool("php"), str(CLIENTS / "client.php")]
    if request.param == "java":
        build([tool("javac", False), "-d", str(folder), str(CLIENTS / "Client.java")])
        return [tool("java", False), "-cp", str(folder), "Client"]
    program = str(folder / "client")
    if request.param == "cpp":
        source = str(CLIENTS / "client.cpp")
        build([tool("g++"), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-o", program, source])
        return [program]
    if request.param == "go":
        build([tool("go", False), "build", "-o", program, str(CLIENTS / "client.go")])
        return [program]
    return csharp(folder)


def csharp(folder: Path) -> list[str]:
    dotnet = tool("dotnet", False)
    build([dotnet, "new", "console", "-o", str(folder), "--name", "client", "--force"])
    shutil.copy(CLIENTS / "Client.cs", folder / "Program.cs")
    build([dotnet, "build", str(folder), "-o", str(folder / "built")])
    return [dotnet, str(folder / "built" / "client.dll")]


def tool(name: str, required: bool = True) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed, so the client in its language is untested here."
        if required and os.environ.get("KPTK_REQUIRE_CLIENTS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


def build(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def run(command: list[str], *arguments: object, token: str = "t0ken") -> tuple[int, str, str]:
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        env=os.environ | {"KPTK_SERVE_TOKEN": token},
    )
    return done.returncode, done.stdout, done.stderr


def test_it_prints_the_people_and_saves_the_picture(
    client: list[str], service: Service, tmp_path: Path
) -> None:
    """Expected: the fake pipeline's one person, 1 1 42 9, nose at a fifth of its width."""
    (tmp_path / "in.png").write_bytes(picture(40))
    target = tmp_path / "out.jpg"
    code, said, wrong = run(client, service.address, tmp_path / "in.png", target)
    assert (code, wrong) == (0, "")
    assert said.splitlines() == [
        "1 people",
        "score 0.900  box 1.0 1.0 42.0 9.0  nose 9.2 1.0 (0.80)",
        f"saved {target}",
    ]
    assert target.read_bytes().startswith(b"\xff\xd8\xff")
    assert target.read_bytes().endswith(b"\xff\xd9")  # to the end


def test_errors_are_a_clear_line(client: list[str], service: Service, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("not a picture")
    code, said, wrong = run(client, service.address, bad, tmp_path / "out.jpg")
    assert (code, said) == (1, "")
    assert wrong.startswith("error 422: image must be an image")
    assert len(wrong.splitlines()) == 1
    code, _, wrong = run(client, service.address, bad, tmp_path / "out.jpg", token="wrong")
    assert code == 1
    assert wrong.startswith("error 401: ")
    code, _, wrong = run(client, service.address, tmp_path / "missing.png")
    assert code == 1
    assert len(wrong.splitlines()) == 1
    assert run(client)[0] == 1
    assert not (tmp_path / "out.jpg").exists()


def test_each_language_has_its_file() -> None:
    names = {path.name for path in CLIENTS.iterdir()}
    assert names == {"client.py", "client.js", "client.php", "client.cpp", "Client.java",
                     "client.go", "Client.cs"}  # fmt: skip

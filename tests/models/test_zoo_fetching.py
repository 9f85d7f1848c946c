"""Downloads against a server on 127.0.0.1 that misbehaves in every way we could think of."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import kptk.models.zoo
from kptk.errors import DownloadError
from kptk.models.zoo import fetch_archive, fetch_file
from tests.local_server import LocalServer, Page, serve, tar_with

WEIGHTS = b"\x80\x02" + os.urandom(200_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KPTK_OFFLINE", raising=False)
    with serve() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPTK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kptk.models.zoo, "WAIT", 0.01)
    return tmp_path / "cache"


def left_over(cache: Path) -> list[str]:
    """Everything in the cache but locks and pins."""
    files = [path for path in cache.rglob("*") if path.is_file()]
    return [str(f.relative_to(cache)) for f in files if f.parent.name not in ("locks", "pins")]


def fetch_weights(url: str, cache: Path) -> Path:
    return fetch_file(url, cache / "weights" / "w.pdparams")


def fetch_model(url: str, cache: Path) -> Path:
    return fetch_archive(
        url, cache / "models" / "m", check=lambda folder: (folder / "inference.yml").stat()
    )


def test_a_file_is_fetched_once_and_pinned(server: LocalServer, cache: Path) -> None:
    url = server.add("/w", Page(WEIGHTS))
    for _ in range(2):
        assert fetch_weights(url, cache).read_bytes() == WEIGHTS
    assert server.asked == ["/w"]
    assert left_over(cache) == ["weights/w.pdparams"]
    pin = json.loads((cache / "pins" / "w.pdparams.json").read_text())
    assert pin == {"url": url, "sha256": hashlib.sha256(WEIGHTS).hexdigest(), "size": 200_002}


def test_an_archive_becomes_a_folder(server: LocalServer, cache: Path) -> None:
    url = server.add("/m.tar", Page(tar_with({"m_infer/inference.yml": b"a: 1"})))
    for _ in range(2):
        assert (fetch_model(url, cache) / "inference.yml").read_text() == "a: 1"
    assert server.asked == ["/m.tar"]
    assert left_over(cache) == ["models/m/inference.yml"]


def test_an_archive_without_a_folder_around_it(server: LocalServer, cache: Path) -> None:
    url = server.add("/m.tar", Page(tar_with({"inference.yml": b"a", "inference.json": b"b"})))
    assert sorted(path.name for path in fetch_model(url, cache).iterdir()) == [
        "inference.json",
        "inference.yml",
    ]


def test_a_busy_server_is_asked_again(server: LocalServer, cache: Path) -> None:
    url = server.add("/w", Page(WEIGHTS, failures=2))
    assert fetch_weights(url, cache).read_bytes() == WEIGHTS
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("page", "times", "message"),
    [
        (Page(WEIGHTS, cut=1000), 3, "tried 3 times"),
        (Page(WEIGHTS, stall=1.0), 3, "tried 3 times.*timed out"),
        (Page(WEIGHTS, failures=9), 3, "tried 3 times.*503"),
        (Page(b"", status=404), 1, "tried once.*404"),
        (Page(b"", status=403), 1, "tried once.*403"),
        (Page(b" <!DOCTYPE html><html>Sign in</html>"), 1, "web page"),
        (Page(b"hello"), 1, "does not hold Paddle weights"),
        (Page(b""), 1, "does not hold Paddle weights"),
    ],
)
def test_a_bad_answer_is_an_error_and_leaves_nothing(
    server: LocalServer,
    cache: Path,
    page: Page,
    times: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kptk.models.zoo, "RETRIES", 2)
    monkeypatch.setattr(kptk.models.zoo, "TIMEOUT", 0.3)
    url = server.add("/w", page)
    with pytest.raises(DownloadError, match=message):
        fetch_weights(url, cache)
    assert len(server.asked) == times
    assert left_over(cache) == [] and not (cache / "pins").exists()


def test_a_failure_says_where_to_put_the_file_by_hand(server: LocalServer, cache: Path) -> None:
    with pytest.raises(DownloadError) as error:
        fetch_weights(server.address + "/gone", cache)
    assert f"Fetch {server.address}/gone elsewhere" in str(error.value)
    assert str(cache / "weights" / "w.pdparams") in str(error.value)


def test_nobody_listens(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as stopped:
        pass
    monkeypatch.setattr(kptk.models.zoo, "RETRIES", 1)
    with pytest.raises(DownloadError, match="tried 2 times"):
        fetch_weights(stopped.address + "/w", cache)


def test_offline_names_the_file_the_address_and_the_place(
    server: LocalServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.add("/w", Page(WEIGHTS))
    monkeypatch.setenv("KPTK_OFFLINE", "1")
    with pytest.raises(DownloadError, match="KPTK_OFFLINE") as error:
        fetch_weights(url, cache)
    for part in ("w.pdparams", url, str(cache / "weights")):
        assert part in str(error.value)
    assert server.asked == []
    monkeypatch.setenv("KPTK_OFFLINE", "0")
    fetch_weights(url, cache)
    monkeypatch.setenv("KPTK_OFFLINE", "1")
    assert fetch_weights(url, cache).read_bytes() == WEIGHTS  # what is there needs no network


def test_a_file_put_there_by_hand_is_used(cache: Path) -> None:
    target = cache / "weights" / "w.pdparams"
    target.parent.mkdir(parents=True)
    target.write_bytes(WEIGHTS)
    assert fetch_weights("http://127.0.0.1:9/w", cache) == target


def test_a_changed_file_is_refused_until_its_pin_goes(server: LocalServer, cache: Path) -> None:
    url = server.add("/w", Page(WEIGHTS))
    fetch_weights(url, cache).unlink()
    server.add("/w", Page(WEIGHTS + b"new"))
    with pytest.raises(DownloadError, match="not the file that was first fetched") as error:
        fetch_weights(url, cache)
    assert left_over(cache) == []
    pin = cache / "pins" / "w.pdparams.json"
    assert f"delete {str(pin)!r} too" in str(error.value)
    pin.unlink()
    assert fetch_weights(url, cache).read_bytes() == WEIGHTS + b"new"


def test_a_changed_archive_is_refused(server: LocalServer, cache: Path) -> None:
    url = server.add("/m.tar", Page(tar_with({"m/inference.yml": b"a: 1"})))
    folder = fetch_model(url, cache)
    (folder / "inference.yml").unlink()
    folder.rmdir()
    server.add("/m.tar", Page(tar_with({"m/inference.yml": b"a: 2"})))
    with pytest.raises(DownloadError, match="not the file that was first fetched"):
        fetch_model(url, cache)
    assert left_over(cache) == []


def test_damage_on_disk_is_found(server: LocalServer, cache: Path) -> None:
    url = server.add("/w", Page(WEIGHTS))
    target = fetch_weights(url, cache)
    target.write_bytes(WEIGHTS[:-1] + b"?")
    with pytest.raises(DownloadError, match="delete it to fetch it again"):
        fetch_weights(url, cache)


def test_an_unreadable_pin_is_named(server: LocalServer, cache: Path) -> None:
    url = server.add("/w", Page(WEIGHTS))
    (cache / "pins").mkdir(parents=True)
    (cache / "pins" / "w.pdparams.json").write_text("{")
    with pytest.raises(DownloadError, match=r"w\.pdparams\.json' cannot be read"):
        fetch_weights(url, cache)


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


GOOD = {"m/inference.yml": b"a: 1"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (tar_with(GOOD | {"../out.txt": b"x"}), "outside its folder"),
        (tar_with(GOOD | {"m/../../out.txt": b"x"}), "outside its folder"),
        (tar_with(GOOD | {"/tmp/out.txt": b"x"}), "outside its folder"),
        (tar_with(GOOD | {"C:\\out.txt": b"x"}), "outside its folder"),
        (tar_with(GOOD | {"m\\..\\..\\out.txt": b"x"}), "outside its folder"),
        (tar_with(GOOD, member("m/link", tarfile.SYMTYPE, "/etc/passwd")), "no plain file"),
        (tar_with(GOOD, member("m/link", tarfile.LNKTYPE, "m/inference.yml")), "no plain file"),
        (tar_with(GOOD, member("m/pipe", tarfile.FIFOTYPE)), "no plain file"),
        (tar_with(GOOD, member("m/device", tarfile.CHRTYPE)), "no plain file"),
        (tar_with({}), "is empty"),
        (b"not an archive" * 100, "complete tar archive"),
        (b"", "complete tar archive"),
        (tar_with({"m/inference.yml": b"x" * 5000})[:3000], "complete tar archive"),
        (b"<html><body>Not found</body></html>", "web page"),
        (tar_with({"m/readme.txt": b"x"}), r"inference\.yml"),
    ],
)
def test_a_bad_archive_writes_nothing(
    server: LocalServer, cache: Path, tmp_path: Path, body: bytes, message: str
) -> None:
    url = server.add("/m.tar", Page(body))
    with pytest.raises((DownloadError, FileNotFoundError), match=message):
        fetch_model(url, cache)
    assert left_over(cache) == [] and not (cache / "pins").exists()
    assert not list(tmp_path.rglob("out.txt")) and not list(tmp_path.rglob("link"))
    assert list((cache / "models").iterdir()) == []


TWO = """
import sys, pathlib
from kptk.models.zoo import fetch_archive, fetch_file
cache = pathlib.Path(sys.argv[2])
folder = fetch_archive(sys.argv[1] + "/m.tar", cache / "models" / "m", check=lambda f: None)
file = fetch_file(sys.argv[1] + "/w", cache / "weights" / "w.pdparams")
print(len((folder / "inference.yml").read_bytes()), len(file.read_bytes()))
"""


def test_two_processes_fetch_once(server: LocalServer, cache: Path) -> None:
    server.add("/m.tar", Page(tar_with({"m/inference.yml": b"x" * 50_000}), stall=0.5))
    server.add("/w", Page(WEIGHTS, stall=0.5))
    command = [sys.executable, "-c", TWO, server.address, str(cache)]
    root = Path(kptk.models.zoo.__file__).parent.parent
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert outputs == ["50000 200002\n"] * 2
    assert sorted(server.asked) == ["/m.tar", "/w"]


def test_progress_is_shown_unless_turned_off(
    server: LocalServer,
    cache: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KPTK_PROGRESS", "1")
    fetch_weights(server.add("/w", Page(WEIGHTS)), cache)
    shown = capfd.readouterr()
    assert "w.pdparams" in shown.err and "100%" in shown.err and shown.out == ""
    monkeypatch.setenv("KPTK_PROGRESS", "0")
    (cache / "weights" / "w.pdparams").unlink()
    fetch_weights(server.address + "/w", cache)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_cache_nobody_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Exception, match="KPTK_CACHE_DIR"):
        fetch_weights("http://127.0.0.1:9/w", tmp_path / "cache")

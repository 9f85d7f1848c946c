"""Cache folder, hashes, locks, renames."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from kptk.errors import ModelError
from kptk.files import cache_dir, file_hash, lock, make_dir, paddlex_cache, replacing


def test_the_folder_follows_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPTK_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path.resolve()
    monkeypatch.setenv("KPTK_CACHE_DIR", " ")
    assert cache_dir().name == "kptk" or cache_dir().parent.name == "kptk"  # Windows: kptk/Cache
    monkeypatch.delenv("PADDLE_PDX_CACHE_HOME", raising=False)
    assert paddlex_cache() == Path.home() / ".paddlex"


def test_hash_is_sha256_of_all_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    assert file_hash(tmp_path / "a", tmp_path / "b") == hashlib.sha256(b"abc").hexdigest()


def test_a_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(3):
            with lock(tmp_path / "l"):
                inside.append(1)
                most.append(len(inside))
                threading.Event().wait(0.01)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 9 and set(most) == {1}


def test_a_lock_held_too_long_is_an_error(tmp_path: Path) -> None:
    with (
        lock(tmp_path / "l"),
        pytest.raises(ModelError, match="Another process"),
        lock(tmp_path / "l", timeout=0.2),
    ):
        pass


def test_replacing_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="KPTK_CACHE_DIR"):
        make_dir(tmp_path / "file" / "below")

"""The folder of a run: its manifest, which partitions are done, and files that appear whole.

``manifest.json`` says what is run on which images. A partition is done when ``done/part-N.json`` is
there and the files it names have the sizes it names; whatever else lies there does not count.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kptk.bulk.lists import ImageList
from kptk.bulk.settings import SCHEMA, Settings
from kptk.cache import replacing
from kptk.errors import BulkError

MANIFEST, DONE, ATTEMPTS = "manifest.json", "done", "attempts"
PEOPLE, IMAGES, RESULTS = "people", "images", "results"
_LEFTOVER = re.compile(r"\.[0-9a-f]{12}\.(parquet|jsonl|json)")


@dataclass(frozen=True)
class Done:
    """A finished partition.

    Attributes:
        partition: its number.
        images: how many it has.
        people: found in them.
        errors: images without a result.
        seconds: the work took, without loading the pipeline.
        settings_hash: of the run.
        files: bytes of each file, by its path in the folder.
    """

    partition: int
    images: int
    people: int
    errors: int
    seconds: float
    settings_hash: str
    files: Mapping[str, int]


@dataclass(frozen=True)
class RunFolder:
    """Where a run's files are."""

    path: Path

    def file(self, kind: str, number: int, suffix: str) -> Path:
        """``kind/part-000007.suffix``."""
        return self.path / kind / f"part-{number:06d}.{suffix}"

    def attempt(self, number: int) -> Path:
        """The file that says that a partition is being worked at."""
        return self.file(ATTEMPTS, number, "json")

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            BulkError: it is not there, or of another version of the format.
        """
        try:
            found: dict[str, Any] = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            schema = found["settings"]["schema"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BulkError(
                f"{self.path} must be a folder written by kptk.predict_dataset. Its {MANIFEST} "
                f"is missing or not readable here ({type(error).__name__}: {error})."
            ) from error
        if schema != SCHEMA:
            raise BulkError(
                f"{self.path} has files of schema {schema}; this kptk reads schema {SCHEMA}."
            )
        return found

    def start(self, settings: Settings, images: ImageList) -> None:
        """Write the manifest, or see that the one there is of the same run.

        Args:
            settings: of this run.
            images: its images.

        Raises:
            BulkError: the folder holds another run, or cannot be written.
        """
        wanted = manifest_of(settings, images)
        if (self.path / MANIFEST).exists():
            differences = "; ".join(_differences(self.manifest, wanted))
            if differences:
                raise BulkError(
                    f"{self.path} holds another run, and two runs in one folder would be mixed up: "
                    f"{differences}. Choose another folder, or delete this one."
                )
            return
        try:
            for kind in (DONE, ATTEMPTS):
                (self.path / kind).mkdir(parents=True, exist_ok=True)
            write_json(self.path / MANIFEST, wanted)
        except OSError as error:
            raise BulkError(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def finished(self, settings_hash: str) -> dict[int, Done]:
        """The finished partitions, by number; damaged ones are not among them."""
        paths = sorted((self.path / DONE).glob("part-*.json"))
        found = [self._read_done(path, settings_hash) for path in paths]
        return {done.partition: done for done in found if done is not None}

    def done(self, number: int, settings_hash: str) -> Done | None:
        """A partition, if it is finished."""
        return self._read_done(self.file(DONE, number, "json"), settings_hash)

    def _read_done(self, path: Path, settings_hash: str) -> Done | None:
        with suppress(OSError, ValueError, TypeError):
            done = Done(**json.loads(path.read_text(encoding="utf-8")))
            sizes = {name: (self.path / name).stat().st_size for name in done.files}
            return done if (sizes, settings_hash) == (done.files, done.settings_hash) else None
        return None

    def finish(self, done: Done) -> None:
        """Say that a partition's files are all there."""
        write_json(self.file(DONE, done.partition, "json"), asdict(done))

    def sweep(self) -> None:
        """Remove what crashes left. Only for when nobody is at work here."""
        for kind in (PEOPLE, IMAGES, RESULTS, DONE, ATTEMPTS):
            for path in (self.path / kind).glob(".*"):
                if _LEFTOVER.fullmatch(path.name):
                    path.unlink(missing_ok=True)


def manifest_of(settings: Settings, images: ImageList) -> dict[str, Any]:
    """What the manifest says."""
    from kptk import __version__

    return {
        "settings_hash": settings.hash,
        "settings": dict(settings.values),
        "images": {"count": images.count, "sha256": images.sha256, "root": plain_text(images.root)},
        "kptk": __version__,
    }


def is_run_folder(path: object) -> bool:
    """Whether a path is a folder that :func:`kptk.predict_dataset` wrote."""
    if not isinstance(path, str | os.PathLike):
        return False
    return (Path(os.fsdecode(path)).expanduser() / MANIFEST).is_file()


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """As ``replacing``, and on the disk before it gets its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())


def write_json(target: Path, value: Any) -> None:
    """Write a JSON file that appears whole."""
    with whole(target) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def plain_text(value: str) -> str:
    """A path as text that every format can hold: bytes that are no Unicode as ``\\udcxx``."""
    return value.encode("utf-8", "backslashreplace").decode()


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    found = []
    for group in ("settings", "images"):
        old, new = there.get(group, {}), wanted[group]
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                found.append(f"{group}.{key} is {old.get(key)!r} there and {new.get(key)!r} now")
    return found

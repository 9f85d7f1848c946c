"""`predict_dataset` in one process: lists of images, restart, crashes, what may not be mixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import kptk
from kptk import bulk
from kptk.bulk import Job, Worker, describe, list_images, located
from kptk.errors import BulkError, InputError, MissingDependencyError
from kptk.pipeline.config import load_config
from kptk.stored import RunFolder
from tests.bulk.fakes import FakePipe, looked_at, make_fake, write_pictures


def paths_of(source: object, **options: bool) -> list[str]:
    """Every path of a list as it would be opened, after a check of what it says of itself."""
    found = list_images(source, **options)
    entries = list(found.entries())
    assert len(entries) == found.identity["count"]
    assert list(found.entries()) == entries  # twice the same
    return [located(found.root, path) for path, _ in entries]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", ".hidden.jpg", "notes.md", "sub/c.jpg", ".git/d.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    return tmp_path / "in"


def test_a_folder(folder: Path) -> None:
    assert paths_of(folder) == [str(folder / "a.PNG"), str(folder / "b.jpg")]
    assert paths_of([str(folder)], recursive=True)[2:] == [str(folder / "sub" / "c.jpg")]
    assert list_images([folder]).identity == list_images(folder).identity


def test_a_file_of_paths_starts_at_its_own_folder(folder: Path) -> None:
    lines = folder / "list.txt"
    lines.write_text("b.jpg\n\nsub/c.jpg\n/else/x.jpg\nhttp://host/y.jpg\n")
    expected = [
        str(folder / "b.jpg"),
        str(folder / "sub/c.jpg"),
        "/else/x.jpg",
        "http://host/y.jpg",
    ]
    assert paths_of(lines) == expected
    assert paths_of([lines, folder / "a.PNG"]) == [*expected, str(folder / "a.PNG")]


def test_a_list_of_paths_need_not_exist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert paths_of(["b.jpg", "gone.jpg"]) == [str(folder / "b.jpg"), str(folder / "gone.jpg")]
    assert paths_of(path for path in ("b.jpg",)) == [str(folder / "b.jpg")]


def test_coco_data_brings_its_ids() -> None:
    data = kptk.load_coco(kptk.demo_path("day"), split="val")
    found = list_images(data)
    path, image_id = next(iter(found.entries()))
    assert image_id == data.image_ids[0]
    assert Path(located(found.root, path)) == data.image_path(image_id).absolute()
    assert found.identity["count"] == len(data)


def test_the_hash_is_of_places_names_ids_and_order(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("a.PNG", "b.jpg"):
        (other / name).touch()
    a, b = str(folder / "a.PNG"), str(folder / "b.jpg")
    hashes = [list_images(s).identity["sha256"] for s in (folder, other, [a, b], [b, a], [a, b, b])]
    assert len(set(hashes)) == 5


def test_partitions_cover_everything_once() -> None:
    names = [f"/{i}.jpg" for i in range(7)]
    parts = list(list_images(names).partitions(3))
    assert [(part.number, part.first, len(part.entries)) for part in parts] == [
        (0, 0, 3), (1, 3, 3), (2, 6, 1),
    ]  # fmt: skip
    assert [path for part in parts for path, _ in part.entries] == names


@pytest.mark.skipif(os.name != "posix", reason="names that are no Unicode")
def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system wants Unicode")
    assert paths_of(tmp_path) == [str(tmp_path / name)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "at least one"),
        (None, "given by path.*NoneType"),
        ([np.zeros((4, 4, 3), np.uint8)], "given by path.*ndarray"),
        (b"bytes", "given by path.*bytes"),
        ("/no/such/folder", "no file or folder /no/such/folder"),
        ("/no/such/list.txt", "list.txt cannot be read"),
    ],
)
def test_what_cannot_be_listed(source: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _ = list_images(source).identity


def test_an_empty_folder_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without any.*recursive=True"):
        list_images(tmp_path)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="at least one"):
        _ = list_images(tmp_path / "list.txt").identity


def run(source: Any, out: Path, pipeline: Any = make_fake, **options: Any) -> Any:
    settings = {"format": "jsonl", "partition_size": 3, "progress": False, **options}
    return kptk.predict_dataset(source, pipeline, out, **settings)


def make_other() -> FakePipe:
    return FakePipe()


def test_a_second_run_does_nothing_and_a_damaged_partition_is_done_again(tmp_path: Path) -> None:
    paths, out = write_pictures(tmp_path / "in", {}, 8), tmp_path / "out"
    first = list(run(paths, out).results())
    assert list(run(paths, out).results()) == first
    assert set(looked_at(tmp_path / "in").values()) == {1}
    half = out / "results" / "part-000001.jsonl"
    half.write_bytes(half.read_bytes()[:100])  # 3, 4, 5: the machine went down
    (out / "done" / "part-000002.json").write_text('{"partit')  # 6, 7
    (out / "results" / ".0123456789ab.jsonl").write_text("half")
    assert len(kptk.read_predictions(out)) == 3
    assert not kptk.read_predictions(out).complete
    assert list(run(paths, out).results()) == first
    times = looked_at(tmp_path / "in")
    assert [times[f"{i}.jpg"] for i in range(8)] == [1, 1, 1, 2, 2, 2, 2, 2]
    assert not (out / "results" / ".0123456789ab.jsonl").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"det_threshold": 0.1}, "settings.det_threshold is None there and 0.1 now"),
        ({"partition_size": 4}, "settings.partition_size is 3 there and 4 now"),
        ({"pipeline": make_other}, "settings.made_by is '.*:make_fake' there"),
        ({"count": 7}, "images.count is 8 there and 7 now"),
    ],
)
def test_two_runs_are_not_mixed(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    paths = write_pictures(tmp_path / "in", {}, 8)
    run(paths, tmp_path / "out")
    count = changed.pop("count", 8)
    with pytest.raises(BulkError, match=message):
        run(paths[:count], tmp_path / "out", **changed)


def test_other_weights_are_another_run(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from tests.tiny_models import write_pipeline

    source = Path(kptk.__file__).parent / "demo" / "images"
    config = write_pipeline(tmp_path / "pair")
    stored = run(source, tmp_path / "out", config)
    assert sum(done.people for done in stored.partitions) == len(stored) > 0
    weights = tmp_path / "pair" / "kpt" / "inference.onnx"
    weights.write_bytes(weights.read_bytes() + b"\x00")
    with pytest.raises(BulkError, match="holds another run"):
        run(source, tmp_path / "out", config)


def test_each_image_that_fails_is_one_error(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", {1: "bad", 4: "bug"}, 7)
    (tmp_path / "in" / "folder.jpg").mkdir()
    stored = run([*paths, tmp_path / "in" / "folder.jpg"], tmp_path / "out")
    errors = {Path(path).name: why for path, why in stored.errors().items()}
    assert errors == {
        "1.jpg": f"{paths[1]} is bad.",
        "4.jpg": "ZeroDivisionError: a bug",
        "folder.jpg": "This is a folder; the list must name images.",
    }
    assert (len(stored), stored.n_errors) == (8, 3)
    assert [len(result) for result in stored.results()] == [1, 0, 1, 1, 0, 1, 1, 0]


def test_a_video_in_the_list_is_refused_and_costs_nothing_else(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", {}, 2)
    video = tmp_path / "in" / "video.mp4"
    video.write_text("3")
    stored = run([paths[0], video, paths[1]], tmp_path / "out")
    assert stored.errors() == {str(video): "This is a video; the list must name images."}
    assert looked_at(tmp_path / "in") == {"0.jpg": 1, "1.jpg": 1}  # at once
    # alone, where one fails strangely
    paths[1].write_text("bug")
    stored = run([paths[0], video, paths[1]], tmp_path / "again")
    assert stored.errors()[str(video)] == "This is a video; the list must name images."


def test_where_every_image_fails_strangely_the_process_is_at_fault(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", {3: "bug", 4: "bug", 5: "bug"}, 9)
    with pytest.raises(BulkError, match=r"1 partitions could not be done \(1\).*ZeroDivision"):
        run(paths, tmp_path / "out")
    assert len(kptk.read_predictions(tmp_path / "out")) == 6  # the rest is there
    for path in paths[3:6]:
        path.write_text("1")
    assert run(paths, tmp_path / "out").complete


def test_an_image_that_kills_this_process_is_left_out_the_fourth_time(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", {4: "poison"}, 7)
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
        "from tests.bulk.fakes import *; "
        "import kptk; kptk.predict_dataset(sys.argv[1], make_fake, sys.argv[2], format='jsonl', "
        "partition_size=3, progress=False)"
    )
    call = [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "out")]
    ends = [subprocess.run(call).returncode for _ in range(4)]
    assert ends == [-9, -9, -9, 0]
    stored = kptk.read_predictions(tmp_path / "out")
    assert list(stored.errors()) == ["4.jpg"]
    assert stored.complete


ANY = {"device": "auto", "engine": "auto", "flip": None, "udp": None, "threads": None}
AS_IT_IS = {"det_threshold": None, "channel_order": None}


def job(tmp_path: Path, **changes: Any) -> Job:
    """A job in a folder whose first partition is still to be done."""
    paths = write_pictures(tmp_path / "in", {}, 2)
    stored = run(paths, tmp_path / "out")
    (tmp_path / "out" / "done" / "part-000000.json").unlink()
    values = {
        "folder": RunFolder(tmp_path / "out"), "settings_hash": stored.manifest["settings_hash"],
        "settings": stored.manifest["settings"], "pipeline": make_fake, "models": ANY,
        "options": AS_IT_IS, "root": "", **changes,
    }  # fmt: skip
    return Job(**values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings_hash": "another"}, "is the folder of another run"),
        (
            {"folder": RunFolder(Path("/not/mounted"))},
            "must see the folder of results under the same path",
        ),
        ({"version": "0.0.9"}, r"has kptk .*; the run was started with 0\.0\.9"),
    ],
)
def test_a_worker_that_does_not_fit_refuses(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    worker = Worker(job(tmp_path, **changes))
    [part] = list_images([tmp_path / "in" / "0.jpg"]).partitions(3)
    with pytest.raises(BulkError, match=message):
        worker.run(part)


def test_a_worker_with_other_models_refuses(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from tests.tiny_models import write_pipeline

    config = load_config(write_pipeline(tmp_path / "pair"))
    settings = describe(config, ANY, AS_IT_IS)
    settings["models"]["pose"]["sha256"] = "of other weights"
    worker = Worker(job(tmp_path, pipeline=config, settings=settings))
    [part] = list_images([tmp_path / "in" / "0.jpg"]).partitions(3)
    with pytest.raises(BulkError, match=r"The pose on .* is not the one on the machine"):
        worker.run(part)


@pytest.mark.parametrize(("asked", "used"), [(None, 3), (1, 1)])
def test_a_pipeline_has_the_threads_of_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, used: int
) -> None:
    distributed = pytest.importorskip("distributed")
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=3))
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    threads: list[int | None] = []
    monkeypatch.setattr(
        bulk,
        "worker_of",
        lambda job: threads.append(job.models["threads"]) or SimpleNamespace(run=id),
    )
    part, _ = list_images(["/a.jpg", "/b.jpg"]).partitions(1)
    bulk.run_partition(job(tmp_path, models={**ANY, "threads": asked}), part)
    assert threads == [used]


def test_a_loaded_pipeline_works_here_but_does_not_travel(tmp_path: Path) -> None:
    pipe = kptk.create_pipeline("demo", threads=1)
    picture = Path(kptk.__file__).parent / "demo" / "images" / "plaza.jpg"
    stored = run(picture, tmp_path / "out", pipe)
    assert [len(result) for result in stored.results()] == [len(pipe(picture))]
    with pytest.raises(InputError, match="cannot be sent to workers"):
        run(picture, tmp_path / "two", pipe, client="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="still to be loaded"):
        run(picture, tmp_path / "two", pipe, flip=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "format must be"),
        ({"partition_size": 0}, "partition_size must be"),
        ({"det_threshold": 2}, "det_threshold must be"),
        ({"pipeline": 3}, "pipeline must be a name.*Got int"),
        ({"channel_order": "xyz"}, "channel_order must be"),
    ],
)
def test_wrong_arguments_leave_no_folder(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    paths = write_pictures(tmp_path / "in", {}, 1)
    with pytest.raises(InputError, match=message):
        run(paths, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BulkError, match=r"must be a folder written by kptk\.predict_dataset"):
        kptk.read_predictions(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"settings": {"schema": 99}}))
    with pytest.raises(BulkError, match="schema 99"):
        kptk.read_predictions(tmp_path)


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    # 40,000 names, of which nothing but the strings may be kept.
    lines = tmp_path / "list.txt"
    lines.write_text("".join(f"some/folder/picture_{i:09d}.jpg\n" for i in range(40_000)))
    import tracemalloc

    tracemalloc.start()
    found = list_images(lines)
    count = sum(len(part.entries) for part in found.partitions(500))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 2 * os.path.getsize(lines)  # a list of strings would take three times its bytes


@pytest.mark.parametrize(
    ("module", "options"),
    [("pyarrow.parquet", {"format": "parquet"}), ("distributed", {"client": "tcp://host:1"})],
)
def test_packages_that_are_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, options: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    paths = write_pictures(tmp_path / "in", {}, 2)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kptk\[dask\]'"):
        run(paths, tmp_path / "out", **options)
    assert run(paths, tmp_path / "here").complete  # JSON lines in one process need neither

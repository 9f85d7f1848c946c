"""pyproject.toml, requirements.lock, environment.yml, Makefile and README say the same thing."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
PADDLEDET = "paddledet==2.6.0"
# Each file that tells somebody how to install.
INSTALL_TEXTS = [
    "Makefile",
    "README.md",
    "README.zh-CN.md",
    "environment.yml",
    "pyproject.toml",
    "requirements.lock",
]

DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("*.md"))]
DOCUMENTS += ["docs/from_paddlex.md", "notebooks/01_quick_start.ipynb"]
# Packages whose import name is not their own.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "lazy_loader": "lazy-loader",
    "cv2": "opencv-python-headless",
    "paddle": "paddlepaddle",
    "ppdet": "paddledet",
    "ruamel": "ruamel-yaml",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Always there with a declared package: ipywidgets brings two, fastapi is made of the third.
TRANSITIVE = {"IPython", "traitlets", "starlette", "markupsafe"}


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def asked_for() -> list[Requirement]:
    """What pyproject.toml requires, extras included, without kptk's references to itself."""
    optional = [line for lines in project()["optional-dependencies"].values() for line in lines]
    return [need for need in map(Requirement, project()["dependencies"] + optional)
            if need.name != "kptk"]  # fmt: skip


def lock_lines() -> list[str]:
    lines = [line.partition("#")[0].strip() for line in LOCK.read_text("utf-8").splitlines()]
    return [line for line in lines if line]


def pins() -> dict[str, str]:
    found = [Requirement(line) for line in lock_lines()]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in found}


@pytest.mark.parametrize("need", asked_for(), ids=str)
def test_every_requirement_is_pinned_within_its_bounds(need: Requirement) -> None:
    assert need.specifier.contains(pins()[canonicalize_name(need.name)])


def test_the_lock_has_exact_pins_and_no_addresses() -> None:
    form = re.compile(r'[a-z0-9-]+==[0-9a-z.]+(; sys_platform [!=]= "\w+")?')
    assert lock_lines()
    assert [line for line in lock_lines() if not form.fullmatch(line)] == []
    assert "://" not in LOCK.read_text("utf-8")


def test_the_lock_is_complete() -> None:
    # Independent source: what the installed packages themselves declare, on each system.
    missing = [name for name in pins() if not installed(name) and "win32" not in line_of(name)
               and "darwin" not in line_of(name)]  # fmt: skip
    if missing:
        pytest.skip(f"only the full environment can tell; not installed: {', '.join(missing)}")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import lock
    finally:
        sys.path.pop(0)
    assert set(lock.systems_by_name()) == set(pins())


def installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def line_of(name: str) -> str:
    return next(line for line in lock_lines() if line.startswith(f"{name}=="))


def imports(path: Path, *, at_import: bool) -> set[str]:
    """Names of the packages a module imports: all, or those outside functions."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(outside_functions(tree)) if at_import else list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    packages = {name.partition(".")[0] for name in names}
    return packages - set(sys.stdlib_module_names) - {"kptk"}


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when a module is imported; ``if TYPE_CHECKING:`` does not."""
    for node in ast.iter_child_nodes(tree):
        checking = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not checking and not isinstance(node, ast.FunctionDef):
            yield node
            yield from outside_functions(node)


def distributions(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


MODULES = sorted((ROOT / "kptk").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_is_declared(path: Path) -> None:
    declared = {canonicalize_name(need.name) for need in asked_for()} | {"paddledet"}
    names = {DISTRIBUTIONS.get(name, name) for name in imports(path, at_import=False)}
    assert names <= declared | TRANSITIVE


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_renderer_training_and_service_import_extras_at_once(path: Path) -> None:
    if path.parent.name in ("demo", "serving", "training") and path.name != "__init__.py":
        return
    core = distributions(project()["dependencies"])
    names = {DISTRIBUTIONS.get(name, name) for name in imports(path, at_import=True)}
    assert names <= core | TRANSITIVE


def test_conda_takes_its_packages_from_the_lock_and_not_paddledet() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip, packages = environment["dependencies"]
    assert python == "python >=3.11,<3.13"
    assert pip == "pip"
    assert packages == {"pip": ["-r requirements.lock"]}
    assert "paddledet" not in pins()


@pytest.mark.parametrize("name", INSTALL_TEXTS)
def test_paddledet_has_one_version_everywhere(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert PADDLEDET in text
    assert set(re.findall(r"paddledet==[\w.]+", text)) == {PADDLEDET}


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_gpu_build_of_paddle_has_the_locks_version(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert set(re.findall(r"paddlepaddle-gpu==([\d.]+\d)", text)) == {pins()["paddlepaddle"]}


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "CONTRIBUTING.md"])
def test_documented_make_targets_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / name).read_text("utf-8")))
    assert named
    assert named <= targets


def test_the_two_readmes_show_the_same_code() -> None:
    blocks = [
        re.findall(
            r"^```\w+\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.DOTALL | re.MULTILINE
        )
        for name in ("README.md", "README.zh-CN.md")
    ]
    english, chinese = ([strip_comments(block) for block in one] for one in blocks)
    assert len(english) >= 4
    assert english == chinese


def strip_comments(code: str) -> str:
    return "\n".join(re.sub(r"\s*#.*", "", line) for line in code.splitlines())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere_and_every_number_is_filled_in(name: str) -> None:
    path = ROOT / name
    text = path.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
    assert "TODO" not in text


def test_the_python_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    example = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    shutil.copytree(ROOT / "kptk/demo/images", tmp_path / "kptk/demo/images")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert '"boxes"' in capsys.readouterr().out
    assert len(names["table"]) == len(names["result"]) > 0
    assert list((tmp_path / "output").glob("*_res.jpg"))


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml", "environment.yml"])
def test_files_name_no_package_index(name: str) -> None:
    assert not re.search(r"index-url|find-links|simple/", (ROOT / name).read_text("utf-8"))


@pytest.mark.slow
def test_a_built_wheel_runs_the_demo_pair_away_from_the_repository(tmp_path: Path) -> None:
    wheel_dir, target = tmp_path / "wheel", tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(wheel_dir),
        str(copy(tmp_path)),
    ]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheel_dir.glob("kptk-*.whl")
    subprocess.run(
        [*pip, "install", "-q", "--no-deps", "--target", str(target), str(wheel)], check=True
    )
    code = (
        "import sys; sys.path.insert(0, {site!r})\n"
        "for name in ('paddle', 'ppdet', 'paddle2onnx', 'onnx'): sys.modules[name] = None\n"
        "import kptk.cli; assert kptk.__file__.startswith({site!r}), kptk.__file__\n"
        "sys.argv = ['kptk', 'predict', {images!r}, '--pipeline', 'demo', '--save-path', 'out']\n"
        "kptk.cli.main()\n"
    ).format(site=str(target), images=str(target / "kptk" / "demo" / "images"))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert list((tmp_path / "out").glob("*_res.json"))
    assert list((tmp_path / "out").glob("*_res.jpg"))


def copy(tmp_path: Path) -> Path:
    """Copy what a build reads, so that building leaves nothing in the repository."""
    there = tmp_path / "source"
    shutil.copytree(ROOT / "kptk", there / "kptk", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, there)
    return there

"""Count the package by folder: files, lines of code, functions, and circles of imports.

A line of code is one that is neither blank, comment nor docstring. Imports count wherever they
stand: at the top, inside functions, and for types alone.

    python tools/count.py [folder]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Graph = dict[str, set[str]]


def modules(package: Path) -> dict[str, Path]:
    """Dotted name → file, of every Python file of a package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def lines_of_code(source: str) -> int:
    """Lines that are neither blank, comment nor docstring."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        holder = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if holder and ast.get_docstring(node, clean=False) is not None:  # type: ignore[arg-type]
            docstrings.update(range(body[0].lineno, body[0].end_lineno + 1))
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and number not in docstrings
        for number, line in enumerate(source.splitlines(), 1)
    )


def imports(package: Path) -> Graph:
    """Module → the package's modules that it imports, anywhere in the file."""
    paths = modules(package)
    graph: Graph = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                targets = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                targets = {
                    full if (full := f"{node.module}.{alias.name}") in paths else node.module
                    for alias in node.names
                    if alias.name != "__version__"
                }
            else:
                continue
            graph[name] |= {target for target in targets if target in paths and target != name}
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return found


def table(package: Path) -> Iterator[tuple[str, int, int, int]]:
    """Folder, files, lines of code, functions; the last row is the sum."""
    rows: dict[str, list[int]] = {}
    for path in modules(package).values():
        source = path.read_text("utf-8")
        functions = sum(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(ast.parse(source))
        )
        row = rows.setdefault(path.parent.relative_to(package.parent).as_posix(), [0, 0, 0])
        for i, number in enumerate((1, lines_of_code(source), functions)):
            row[i] += number
    for folder, (files, lines, functions) in sorted(rows.items()):
        yield folder, files, lines, functions
    files, lines, functions = (sum(column) for column in zip(*rows.values(), strict=True))
    yield "in all", files, lines, functions


def main() -> None:
    """Print the table and the circles."""
    package = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "kptk")
    print(f"{'folder':20}{'files':>8}{'lines':>8}{'functions':>11}")
    for folder, files, lines, functions in table(package):
        print(f"{folder:20}{files:>8}{lines:>8,}{functions:>11,}")
    found = circles(imports(package))
    print(f"\ncircles of imports: {len(found)}")
    for group in found:
        print("  " + " <-> ".join(group))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()

"""Who may import whom, and what must not be loaded to print a help text."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("mimicit", "syphus", "trainer")
FORBIDDEN = {
    "mimicit": {"syphus", "trainer", "torch", "transformers", "litellm", "accelerate"},
    "syphus": {"trainer", "torch", "transformers", "accelerate"},
    "trainer": {"syphus", "litellm"},
}
TORCH_ROOMS = {ROOT / "mimicit" / "media" / "tensors.py"}
"""Where mimicit hands pictures to torch, for those who have it: imported late."""
CLI = ROOT / "syphus" / "cli.py"  # the only place where the three meet
HEAVY = {
    "accelerate", "aiohttp", "anthropic", "duckdb", "jinja2", "litellm", "numpy", "openai", "PIL", "pyarrow", "pydantic",
    "torch", "transformers", "yaml",
}  # fmt: skip


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imports(path, *, top_level=False):
    """Return the dotted names that a module imports, those for type checking left out."""
    found = set()

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
                found.add(child.module)
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
            elif (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)) or (
                top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            ):
                continue
            walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package):
    for path in modules(package):
        if path == CLI:
            continue
        late = path in TORCH_ROOMS
        tops = {name.partition(".")[0] for name in imports(path, top_level=late)}
        forbidden = FORBIDDEN[package]
        if late:
            assert {name.partition(".")[0] for name in imports(path)} & forbidden == {"torch"}, path
        assert not tops & forbidden, path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_modules_import_each_other(package):
    """Follow every import, late ones too: a circle is a missing room."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in modules(package)
    }
    graph = {
        name: {found for found in imports(path, top_level=True) if found in names and found != name}
        for name, path in names.items()
    }
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path, name])
        if name in done:
            return
        path.append(name)
        for found in graph[name]:
            visit(found)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_too_long_to_read(package):
    for path in modules(package):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path


def test_help_loads_nothing_heavy():
    code = "import sys, syphus.cli; syphus.cli.app; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not HEAVY & set(loaded)

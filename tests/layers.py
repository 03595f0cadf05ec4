"""Which module of a package imports which: circles, and folders that are layers.

Imports for types, and imports within functions, count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Imports = Mapping[str, frozenset[str]]
"""By module: the modules of the same package that it imports."""


def read_imports(package: str) -> Imports:
    """Read every import in a package, those within functions and `if TYPE_CHECKING` among them."""
    modules = {_module_name(path): path for path in sorted((ROOT / package).rglob("*.py"))}
    return {
        name: frozenset(
            target for target in _targets(ast.parse(path.read_text()), modules) if target in modules and target != name
        )
        for name, path in modules.items()
    }


def find_circle(imports: Imports) -> list[str]:
    """Return modules of which each imports the next, and the last the first; nothing when there are none."""
    done: set[str] = set()

    def search(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for target in sorted(imports[module]):
            if circle := search(target, [*path, module]):
                return circle
        done.add(module)
        return []

    for module in imports:
        if circle := search(module, []):
            return circle
    return []


def find_trespasses(package: str, imports: Imports, layers: Mapping[str, set[str]]) -> list[str]:
    """Return what a folder imports of a folder that it must not know.

    Args:
        package: The package's name.
        imports: Of the package.
        layers: By folder, "" for the package's own modules: the other folders that it may import from.
    """
    found = []
    for module, targets in imports.items():
        folder = _folder(package, module, layers)
        for target in sorted(targets):
            other = _folder(package, target, layers)
            if other != folder and other not in layers[folder]:
                found.append(f"{module} imports {target}")
    return found


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(tree: ast.AST, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in named)


def _folder(package: str, module: str, layers: Mapping[str, set[str]]) -> str:
    """Return the folder of a module, as deep as `layers` names it."""
    path = module.removeprefix(package).removeprefix(".")
    while path and path not in layers:
        path = path.rpartition(".")[0]
    return path

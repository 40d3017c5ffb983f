"""Which code and which table a result comes from."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from admire_pipeline.replay.table import RunTable

PACKAGE = __name__.partition(".")[0]


def table_hash(table: RunTable) -> str:
    """Return a hash of all that a table holds."""
    digest = hashlib.sha256()
    about = [table.domains, table.metrics, table.direction, sorted(table.groups.items())]
    digest.update(repr((about, table.fidelities)).encode())
    hashes = pd.util.hash_pandas_object(table.frame, index=False)
    digest.update(np.asarray(hashes, dtype=np.uint64).tobytes())
    return digest.hexdigest()[:16]


def fingerprint(*modules: str) -> str:
    """Return a hash of the code of modules and of all modules of this package that they import.

    Comments, docstrings and formatting do not enter it.

    Args:
        modules: Full names.
    """
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen[module], imported = _parse(module)
            waiting += imported
    text = "\n".join(f"{module} {seen[module]}" for module in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _parse(module: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's code, and the names of the package's modules that it imports."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return "", ()
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    imported: set[str] = set()
    types = {id(part) for node in ast.walk(tree) if _for_types(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in types:
            continue
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import name`: the name may be a module or something in it.
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    # A package's own file lists what is in it; a name more in the list changes no result.
    is_package = spec.submodule_search_locations is not None
    code = "" if is_package else hashlib.sha256(_canonical(tree).encode()).hexdigest()
    return code, tuple(name for name in sorted(imported) if _is_module(name))


def _for_types(node: ast.AST) -> bool:
    """Tell whether it is a block that only type checkers read, which changes no result."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def _canonical(node: object) -> str:
    """The tree as text, the same whatever version of Python has parsed it.

    `ast.dump` lists the fields of its own version, which are empty where the code is older, and
    `ast.unparse` quotes as its own version may.
    """
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        inside = ",".join(f"{name}={_canonical(value)}" for name, value in fields)
        return f"{type(node).__name__}({inside})"
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    return repr(node)


def _is_module(name: str) -> bool:
    if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
        return False
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # what stands in a module, not in a package
        return False

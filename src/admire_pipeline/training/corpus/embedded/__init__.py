"""A small Pile: domains made of text that every installation of our dependencies holds.

Nothing is downloaded and nothing is imported from the packages that are read. Which files there
are depends on their versions only, so a domain's recipe is its name and those versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest

from admire_pipeline.training.corpus.embedded import arithmetic, prose
from admire_pipeline.training.corpus.embedded.files import PYTHON, Files, cut, versions

MAX_BYTES = 2_000_000
"""A domain stops here, in UTF-8 bytes."""

RUNTIME = (
    *("accelerate", "aiohttp", "alembic", "anyio", "attrs", "botorch", "certifi", "click"),
    *("cloudpickle", "contourpy", "cryptography", "datasets", "dill", "docker", "fastapi"),
    *("filelock", "Flask", "fonttools", "fsspec", "GitPython", "gpytorch", "graphene", "httpcore"),
    *("huggingface_hub", "Jinja2", "joblib", "kedro", "kiwisolver", "linear_operator", "Mako"),
    *("markdown-it-py", "matplotlib", "mlflow", "mlflow-skinny", "mpmath", "multiprocess"),
    *("networkx", "numpy", "omegaconf", "opentelemetry-api", "packaging", "pandas", "pillow"),
    *("pluggy", "protobuf", "psutil", "pyarrow", "pydantic", "Pygments", "pyparsing"),
    *("python-dateutil", "PyYAML", "regex", "requests", "rich", "safetensors", "scikit-learn"),
    *("scipy", "setuptools", "SQLAlchemy", "sympy", "threadpoolctl", "tokenizers", "torch"),
    *("tqdm", "transformers", "typing_extensions", "urllib3", "uvicorn", "Werkzeug", "zstandard"),
)
"""Distributions whose licences are read; those not installed are passed over."""


@dataclass(frozen=True)
class Embedded:
    """An embedded domain.

    Attributes:
        description: What it is.
        documents: Yields its documents, at least as much as `MAX_BYTES` where there is that much.
        distributions: Distributions whose versions decide the text (Python's own always does).
    """

    description: str
    documents: Callable[[], Iterator[str]]
    distributions: tuple[str, ...] = ()

    def versions(self) -> dict[str, str | None]:
        """Version of everything that decides the text; None for what is not installed."""
        return versions(self.distributions)

    def __iter__(self) -> Iterator[str]:
        """Documents up to `MAX_BYTES` in all, each short enough to be one of many."""
        size = 0
        for document in self._pieces():
            size += len(document.encode("utf-8", "replace"))
            if size > MAX_BYTES:
                return
            yield document

    def _pieces(self) -> Iterator[str]:
        # The first piece of every text, then the second ones: where there is text enough, no two
        # documents are of one file, which could stand on both sides of the validation split.
        rest = []
        for text in self.documents():
            pieces = cut(text)
            yield from islice(pieces, 1)
            rest.append(pieces)
        yield from (piece for turn in zip_longest(*rest) for piece in turn if piece)


def _of(description: str, *files: Files) -> Embedded:
    def documents() -> Iterator[str]:
        for part in files:
            yield from part.read()

    return Embedded(description, documents, tuple(part.distribution for part in files))


def _metadata_folder(distribution: str) -> str:
    """Glob of a distribution's `.dist-info` folder, in which the name may be spelt otherwise."""
    return re.sub(r"[-_.]+", "[-_.]", distribution) + "-[0-9]*.dist-info"


_LICENCES = ("LICEN[CS]E*", "COPYING*", "NOTICE*")

EMBEDDED: dict[str, Embedded] = {
    "python": _of(
        "source code of Python's standard library",
        Files(PYTHON, "", ("*.py",), ("test", "tests", "idle_test", "pydoc_data", "encodings")),
    ),
    "prose": Embedded(
        "English technical prose: docstrings, help topics, package descriptions",
        prose.documents,
        prose.DISTRIBUTIONS,
    ),
    "cpp": _of(
        "C++ headers of torch, numpy and pyarrow",
        # ATen/ops holds thousands of generated files that differ in a name.
        Files("torch", "torch/include", ("*.h", "*.hpp", "*.cuh"), ("ops",)),
        Files("numpy", "numpy/_core/include", ("*.h",)),
        Files("pyarrow", "pyarrow/include", ("*.h",)),
    ),
    "web": _of(
        "JavaScript, CSS and HTML: sources first, then bundles of mlflow's pages",
        Files("matplotlib", "matplotlib/backends/web_backend", ("*.js", "*.css", "*.html")),
        Files("torch", "torch/utils", ("*.js", "*.css", "*.html"), limit=40_000),
        Files("scikit-learn", "sklearn/utils", ("*.js", "*.css")),
        Files("Werkzeug", "werkzeug", ("*.js", "*.css")),
        Files("mlflow", "mlflow", ("*.html",)),
        Files("mlflow", "mlflow/server/js/build", ("*.js", "*.css"), limit=40_000),
    ),
    "legal": _of(
        "licences and notices of the installed packages",
        Files(PYTHON, "LICENSE.txt", _LICENCES),
        *(Files(name, _metadata_folder(name), _LICENCES) for name in RUNTIME),
        Files("mlflow", "mlflow/server/js/build", ("*.LICENSE.txt",)),
    ),
    "data": _of(
        "JSON and YAML records",
        Files("mlflow", "mlflow", ("*.json", "*.yaml", "*.yml"), ("js",)),
        Files("torch", "torchgen/packaged", ("*.yaml",), limit=400_000),
        Files("torch", "torch/_dynamo", ("*.json",)),
        Files("datasets", "datasets/utils/resources", ("*.json", "*.yaml")),
    ),
    "tables": _of(
        "tables of numbers: CSV files and font metrics",
        Files("scikit-learn", "sklearn/datasets/data", ("*.csv",)),
        Files("numpy", "numpy", ("*.csv",), limit=40_000),
        Files("matplotlib", "matplotlib/mpl-data", ("*.csv", "*.afm"), limit=40_000),
    ),
    "arithmetic": Embedded("synthetic questions and answers about numbers", arithmetic.documents),
}
"""The embedded domains by name."""

"""A small Pile: domains made of text that every installation of our dependencies holds.

Nothing is downloaded and nothing is imported from the packages that are read. Which files there
are depends on their versions only, so a domain's recipe is its name, those versions and this code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from admire_pipeline.training.corpus.embedded import arithmetic, prose
from admire_pipeline.training.corpus.embedded.files import PYTHON, Files, beginning, versions

MAX_BYTES = 2_000_000
"""A domain stops here, in UTF-8 bytes, unless more is asked for."""

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
        limit: Characters read of one document: none must be all that a domain is validated on.
    """

    description: str
    documents: Callable[[], Iterator[str]]
    distributions: tuple[str, ...] = ()
    limit: int = 32_768

    def versions(self) -> dict[str, str | None]:
        """Version of everything that decides the text; None for what is not installed."""
        return versions(self.distributions)

    def read(self, most: int = MAX_BYTES) -> Iterator[str]:
        """Documents up to `most` UTF-8 bytes in all, each the beginning of a file or module."""
        size = 0
        for text in self.documents():
            document = beginning(text, self.limit)
            size += len(document.encode("utf-8", "replace"))
            if size > most:
                return
            yield document


def _of(description: str, *files: Files, limit: int = 32_768) -> Embedded:
    def documents() -> Iterator[str]:
        for part in files:
            yield from part.read()

    return Embedded(description, documents, tuple(part.distribution for part in files), limit)


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
        Files("torch", "torch/utils", ("*.js", "*.css", "*.html")),
        Files("scikit-learn", "sklearn/utils", ("*.js", "*.css")),
        Files("Werkzeug", "werkzeug", ("*.js", "*.css")),
        Files("mlflow", "mlflow", ("*.html",)),
        Files("mlflow", "mlflow/server/js/build", ("*.js", "*.css")),
    ),
    "legal": _of(
        "licences and notices of the installed packages",
        Files(PYTHON, "LICENSE.txt", _LICENCES),
        *(Files(name, _metadata_folder(name), _LICENCES) for name in RUNTIME),
        Files("mlflow", "mlflow/server/js/build", ("*.LICENSE.txt",)),
        limit=65_536,  # there is little more than 1 MB of it
    ),
    "data": _of(
        "JSON and YAML records",
        Files("mlflow", "mlflow", ("*.json", "*.yaml", "*.yml"), ("js",)),
        Files("torch", "torchgen/packaged", ("*.yaml",)),
        Files("torch", "torch/_dynamo", ("*.json",)),
        Files("datasets", "datasets/utils/resources", ("*.json", "*.yaml")),
        limit=65_536,  # few files, most of them long
    ),
    "arithmetic": Embedded("synthetic questions and answers about numbers", arithmetic.documents),
}
"""The embedded domains by name."""

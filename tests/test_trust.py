"""What a step takes from a Hub is pinned and recorded, its token shows nowhere, nothing is run."""

from __future__ import annotations

import ast
import inspect
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.hub import Hub

ROOT = Path(__file__).resolve().parents[1]
CODE = ("src", "benchmarks", "dags", "notebooks", "tests")
OWN_PICKLES = {
    "tests/training/corpus/test_prepare.py",
    "tests/training/test_evaluate.py",
    "tests/training/test_pickles.py",
}
"""Tests of what pickles would do, and of what passes between our own processes."""
TOKEN = "hf_PLANTEDxTOKENxOFxTHExTESTS"
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
OFF = {
    "trust_remote_code": False,
    "allow_pickle": False,
    "use_safetensors": True,
    "safe_serialization": True,
    "confirm_run_unsafe_code": False,
}
"""Options of libraries that read or run what others wrote, and the only value we give them."""


def unsafe(source: str) -> list[str]:
    """What in a module's source could run code that comes with data or weights."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLES:
            # To catch an error reads nothing.
            if any(alias.name != "UnpicklingError" for alias in node.names):
                found.append(str(node.module))
        elif isinstance(node, ast.keyword) and node.arg in OFF:
            if not (isinstance(node.value, ast.Constant) and node.value.value is OFF[node.arg]):
                found.append(f"{node.arg}={ast.unparse(node.value)}")
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                name = key.value if isinstance(key, ast.Constant) else None
                if name in OFF and ast.unparse(value) != repr(OFF[name]):
                    found.append(f"{name}: {ast.unparse(value)}")
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name.endswith(("torch.load", "read_pickle", "to_pickle", "torch.hub.load")):
                if not (name == "torch.load" and given.get("weights_only") == "True"):
                    found.append(name)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=settings.trust)",
        "AutoModel.from_pretrained(x, use_safetensors=False)",
        "HFLM(**{'trust_remote_code': True})",
        "np.load(x, allow_pickle=True)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "pd.read_pickle(x)",
        "simple_evaluate(confirm_run_unsafe_code=True)",
    ],
)
def test_what_is_unsafe_is_found(line: str) -> None:
    assert unsafe(line)


def test_nothing_that_runs_foreign_code_is_in_the_sources() -> None:
    """What runs text, shells or YAML's objects is ruff's to find: S102, S307, S506, S602, S605."""
    paths = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
    assert len(paths) > 200
    assert not unsafe("torch.load(x, weights_only=True)")
    found = {str(path.relative_to(ROOT)): unsafe(path.read_text()) for path in paths}
    assert {path for path, what in found.items() if what} == OWN_PICKLES


def test_libraries_read_checkpoints_as_data() -> None:
    """transformers 5.23, accelerate 1.15 and peft 0.21: weights_only=True in every call."""
    import accelerate.utils.fsdp_utils
    import peft.utils.save_and_load
    import transformers.trainer

    for module, least in ((transformers.trainer, 6), (accelerate.utils.fsdp_utils, 4)):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        loads = [
            {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
        ]
        assert len(loads) >= least
        assert all(given.get("weights_only") == "True" for given in loads)
    given = inspect.signature(peft.utils.save_and_load.torch_load).parameters
    assert given["weights_only"].default is True


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub().serving() as hub:
        yield hub


@pytest.fixture
def hub_project(
    project: Project, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """The test project with one domain and the models' weights on a private Hub."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub_cache"))
    hub.token = TOKEN
    domain = {"huggingface": "team/letters"}
    project.set("catalog.yml", "corpus.domains.letters", domain)
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.model", {"checkpoint": "team/tiny"})
    return project


def letters(seed: int) -> dict[str, bytes]:
    """A dataset repository."""
    source = random.Random(seed)
    rows = [{"text": " ".join(source.choices("abcdefgh", k=90))} for _ in range(160)]
    return {"train.jsonl": "\n".join(map(json.dumps, rows)).encode()}


def weights(folder: Path, seed: int) -> dict[str, bytes]:
    """A model repository, for bytes as tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(seed)
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def quoting(folder: Path, text: str) -> list[Path]:
    """Files that hold a text, but for the credentials it was written into."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "local"]
    assert len(files) > 10
    return [path for path in files if text.encode() in path.read_bytes()]


def finish(project: Project, *arguments: str) -> tuple[int, str]:
    process = project.start(*arguments)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize("way", ["environment", "credentials"])
def test_a_step_from_a_private_hub(
    hub_project: Project, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Pushes to the Hub in the middle of a trial do not matter to it; its token shows nowhere."""
    model = hub.push("models", "team/tiny", weights(tmp_path / "first", 1))
    data = hub.push("datasets", "team/letters", letters(1))
    if way == "environment":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    else:
        local = hub_project.folder / "conf" / "local" / "credentials.yml"
        local.write_text(f"huggingface: {{token: {TOKEN}}}\n")

    status, first = finish(hub_project, "run", "--pipelines=proposal", "--verbose")
    assert status == 0, first
    hub.push("models", "team/tiny", weights(tmp_path / "second", 2))
    hub.push("datasets", "team/letters", letters(2))
    status, second = finish(hub_project, "run", "--pipelines=admire_step", "--verbose")
    assert status == 0, second

    (run,) = hub_project.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["model.checkpoint"] == "team/tiny"
    assert run.data.params["model.revision"] == model
    assert run.data.params["data.revision.letters"] == data
    assert len(run.data.params["data.revision.numbers"]) == 16
    assert f"revision: {model} to keep it" in first
    assert "corpus.domains.letters.revision: not pinned; team/letters is taken" in first
    assert "not pinned" not in second
    content = [(kind, commit) for kind, _, commit, path in hub.loaded if path != "config.json"]
    assert set(content) == {("models", model), ("datasets", data)}
    assert TOKEN not in first + second
    assert quoting(hub_project.folder, TOKEN) == []
    assert quoting(tmp_path / "hub_cache", TOKEN) == []


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--verbose"]])
def test_a_refused_token_is_not_shown(
    hub_project: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """A server may quote the headers that it refuses: this one does."""
    for fidelity in ("nano", "small"):
        config = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2}
        hub_project.set("parameters.yml", f"fidelities.{fidelity}.model", {"config": config})
    hub.push("datasets", "team/letters", letters(1))
    monkeypatch.setenv("HF_TOKEN", TOKEN + "_of_yesterday")
    status, output = finish(hub_project, "run", "--pipelines=admire_step", *options)
    assert status == 1
    assert "corpus.domains.letters.huggingface: cannot load 'team/letters'" in output, output
    assert ("Authorization: Bearer ***" in output) == bool(options), output
    assert TOKEN not in output
    assert quoting(hub_project.folder, TOKEN) == []

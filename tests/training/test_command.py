from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from admire_pipeline.errors import UserError
from admire_pipeline.training.command import command_line, launch_command
from admire_pipeline.training.settings import LaunchSettings

ROOT = Path(__file__).resolve().parents[2]

REFUSED: dict[str, tuple[Any, str]] = {
    "conf/none.yaml": (None, "launch.config: conf/none.yaml cannot be read (FileNotFoundError)"),
    "list.yaml": ("[1, 2]", "launch.config: list.yaml holds no settings of accelerate"),
    "zero.yaml": (
        "distributed_type: DEEPSPEED",
        "launch.config: zero.yaml needs the package deepspeed, which is not installed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_config_file_that_cannot_be_used_is_one_line(name: str, tmp_path: Path) -> None:
    content, message = REFUSED[name]
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as refused:
        launch_command(LaunchSettings(processes=2, config=name), tmp_path)
    assert str(refused.value).startswith(message)


def test_shipped_config_files_say_what_accelerate_understands() -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    def parse(name: str) -> Any:
        command = command_line(LaunchSettings(processes=8, config=name), ROOT)
        arguments = launch_command_parser().parse_args([*command[3:], "script"])
        return _validate_launch_command(arguments)[0]

    fsdp = parse("conf/accelerate/fsdp.yaml")
    assert fsdp.use_fsdp and fsdp.num_processes == 8
    spread = prepare_multi_gpu_env(fsdp)
    assert spread["FSDP_VERSION"] == "2" and spread["FSDP_RESHARD_AFTER_FORWARD"] == "true"
    assert spread["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
    assert spread["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
    zero = parse("conf/accelerate/zero3.yaml")
    assert zero.use_deepspeed
    zero.deepspeed_fields_from_accelerate_config = ""  # only its launcher sets it
    _, stage = prepare_deepspeed_cmd_env(zero)
    assert stage["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    assert stage["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"
    assert stage["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] == "auto"


def test_more_processes_than_gpus_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    launch_command(LaunchSettings(processes=2), tmp_path)
    with pytest.raises(UserError, match=r"launch.processes: 4, but this machine has 2 GPUs"):
        launch_command(LaunchSettings(processes=4), tmp_path)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from admire_pipeline.errors import UserError
from admire_pipeline.training.command import check_config_file, launch_command
from admire_pipeline.training.settings import FidelitySettings, LaunchSettings

ROOT = Path(__file__).resolve().parents[2]

REFUSED: dict[str, tuple[Any, str]] = {
    "conf/none.yaml": (None, "x.launch.config: conf/none.yaml cannot be used (No such file"),
    "bytes.yaml": (b"\xff", "x.launch.config: bytes.yaml cannot be used ('utf-8' codec"),
    "list.yaml": (b"[1, 2]", "x.launch.config: list.yaml cannot be used ("),
    "other.yaml": (
        b"distributed_type: MULTI_GPU\nbogus: 3",
        "x.launch.config: other.yaml cannot be used (",
    ),
    "small.yaml": (b"distributed_type: fsdp", "x.launch.config: small.yaml cannot be used ("),
    "many.yaml": (
        b"distributed_type: MULTI_GPU\nnum_machines: null",
        "x.launch.config: many.yaml cannot be used (num_machines is None",
    ),
    "name.yaml": (
        b"distributed_type: FSDP\nfsdp_config: {fsdp_versoin: 2}",
        "x.launch.config: name.yaml cannot be used (fsdp_config: unknown 'fsdp_versoin'; did you "
        "mean 'fsdp_version'?)",
    ),
    "short.yaml": (
        b"distributed_type: FSDP\nfsdp_config: {versoin: 2}",
        "x.launch.config: short.yaml cannot be used (fsdp_config: unknown 'versoin'; did you mean",
    ),
    "policy.yaml": (
        b"distributed_type: FSDP\nfsdp_config: {fsdp_auto_wrap_policy: TRANSFORMER_BASE_WRAP}",
        "x.launch.config: policy.yaml cannot be used (fsdp_config.fsdp_auto_wrap_policy is "
        "'TRANSFORMER_BASE_WRAP', and none of TRANSFORMER_BASED_WRAP, SIZE_BASED_WRAP, NO_WRAP)",
    ),
    "kind.yaml": (
        b"distributed_type: FSDP\nfsdp_config: {state_dict_type: FUL_STATE_DICT}",
        "x.launch.config: kind.yaml cannot be used (fsdp_config.state_dict_type is 'FUL_STATE_DIC",
    ),
    "flag.yaml": (
        b"distributed_type: FSDP\nfsdp_config: {fsdp_reshard_after_forward: sometimes}",
        "x.launch.config: flag.yaml cannot be used (fsdp_config.fsdp_reshard_after_forward is 'som",
    ),
    "stage.yaml": (
        b"distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 4}",
        "x.launch.config: stage.yaml cannot be used (deepspeed_config.zero_stage is 4, and none",
    ),
    "zero.yaml": (
        b"distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stge: 3}",
        "x.launch.config: zero.yaml cannot be used (deepspeed_config: unknown 'zero_stge'; did",
    ),
    "fsdp.yaml": (b"distributed_type: FSDP", "x.launch.config: fsdp.yaml spreads the model (FSDP)"),
}


def fidelity(processes: int = 2, config: str | None = None, lora: bool = False) -> FidelitySettings:
    model: dict[str, Any] = {"config": {"model_type": "llama"}}
    if lora:
        model = {"checkpoint": "team/model", "lora": {"rank": 1, "alpha": 1}}
    training = {"tokens": 1024, "sequence_length": 64, "batch_size": 2, "learning_rate": 0.1}
    launch = {"processes": processes, "config": config}
    return FidelitySettings.model_validate(
        {"cost": 1, "model": model, "training": training, "launch": launch}
    )


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_config_file_that_cannot_be_used_is_one_line(
    name: str, elsewhere: bool, tmp_path: Path
) -> None:
    content, message = REFUSED[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refused:
        check_config_file(fidelity(2, name, lora=True), tmp_path, "x", elsewhere=elsewhere)
    assert str(refused.value).startswith(message)


def test_a_package_that_is_not_there_is_none_of_the_files_faults(tmp_path: Path) -> None:
    (tmp_path / "zero.yaml").write_text("distributed_type: DEEPSPEED")
    zero = fidelity(1, "zero.yaml")
    check_config_file(zero, tmp_path, "x", elsewhere=True)
    with pytest.raises(
        UserError, match=r"^x\.launch\.config: zero\.yaml needs the package deepspeed"
    ):
        check_config_file(zero, tmp_path, "x")


def test_shipped_config_files_say_what_accelerate_understands() -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    def parse(name: str) -> Any:
        command = launch_command(LaunchSettings(processes=8, config=name), ROOT)
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
    check_config_file(fidelity(2), tmp_path, "x")
    check_config_file(fidelity(4), tmp_path, "x", elsewhere=True)
    with pytest.raises(UserError, match=r"^x\.launch\.processes: 4, but this machine has 2 GPUs"):
        check_config_file(fidelity(4), tmp_path, "x")
    (tmp_path / "two.yaml").write_text("distributed_type: MULTI_GPU\nnum_machines: 2")
    check_config_file(fidelity(4, "two.yaml"), tmp_path, "x")


def test_trials_that_share_a_machine_take_a_free_port_each(tmp_path: Path) -> None:
    assert "--main_process_port" in launch_command(LaunchSettings(processes=2), tmp_path)
    (tmp_path / "two.yaml").write_text("distributed_type: MULTI_GPU\nnum_machines: 2")
    two = LaunchSettings(processes=2, config="two.yaml")
    assert "--main_process_port" not in launch_command(two, tmp_path)

"""The command by which accelerate launches processes."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from admire_pipeline.errors import UserError
from admire_pipeline.training.settings import FidelitySettings, LaunchSettings

SPREAD = ("FSDP", "DEEPSPEED")
"""Types of config that spread one model over the devices."""


def check_config_file(fidelity: FidelitySettings, project: Path, key: str) -> None:
    """Check that accelerate's config file is there and serves the fidelity, before any compute.

    Args:
        fidelity: Its launch names the file, or none.
        project: Where a relative path starts.
        key: Where the fidelity stands in the config, for the message.

    Raises:
        UserError: If it is missing, no config file, or spreads a model with adapters.
    """
    launch = fidelity.launch
    if launch.config is None:
        return
    kind = _read_config(project / launch.config, launch, f"{key}.launch").get("distributed_type")
    if kind in SPREAD and fidelity.model.lora is not None:
        raise UserError(
            f"{key}.launch.config: {launch.config} spreads the model ({kind}), but adapters are "
            "merged into a whole one; allowed: null, or no model.lora"
        )


def launch_command(launch: LaunchSettings, project: Path) -> list[str]:
    """The command that launches processes, up to what they run; checked against this machine.

    Args:
        launch: How many, and how.
        project: Where a relative path of the config file starts.

    Raises:
        UserError: If the config file cannot be used, or there are too few GPUs.
    """
    import torch

    config = (
        {} if launch.config is None else _read_config(project / launch.config, launch, "launch")
    )
    if config.get("distributed_type") == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise UserError(
            f"launch.config: {launch.config} needs the package deepspeed, which is not installed"
        )
    machines = config.get("num_machines", 1)
    gpus = torch.cuda.device_count()
    if machines == 1 and torch.cuda.is_available() and launch.processes > gpus:
        raise UserError(
            f"launch.processes: {launch.processes}, but this machine has {gpus} GPUs; allowed: at "
            "most as many"
        )
    return command_line(launch, project, machines)


def command_line(launch: LaunchSettings, project: Path, machines: int = 1) -> list[str]:
    """The same, unchecked.

    Args:
        launch: How many processes, and how.
        project: Where a relative path of the config file starts.
        machines: That the config file speaks of.
    """
    options = ["--num_processes", str(launch.processes)]
    if launch.config is None:
        # All that accelerate would else take from a config file of the user's.
        options += ["--multi_gpu", "--num_machines", "1"]
        options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    else:
        options += ["--config_file", str(project / launch.config)]
    if machines == 1:
        options += ["--main_process_port", "0"]  # a free one: trials may share a machine
    return [sys.executable, "-m", "accelerate.commands.launch", *options]


def _read_config(path: Path, launch: LaunchSettings, key: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(
            f"{key}.config: {launch.config} cannot be read ({type(error).__name__}); allowed: a "
            "config file of accelerate, relative to the project"
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"{key}.config: {launch.config} holds no settings of accelerate")
    return config

"""The command by which accelerate launches processes, and what it needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.settings import FidelitySettings, LaunchSettings
from admire_pipeline.training.spread import SPREAD, check_section

ON_ONE_MACHINE = "admire_pipeline.training.loopback"
"""Module that launches processes which meet on this machine."""


def check_config_file(
    fidelity: FidelitySettings, project: Path, key: str, *, elsewhere: bool = False
) -> None:
    """Check that a fidelity can be launched as its `launch` says, before any compute.

    Args:
        fidelity: Its launch names accelerate's config file, or none.
        project: Where a relative path starts.
        key: Where the fidelity stands in the config, for the message.
        elsewhere: It is to run on another machine: check the file alone.

    Raises:
        UserError: If the file is missing, is no config file, or spreads a model with adapters; if
            this machine has too few GPUs, or not the package that the file needs.
    """
    launch = fidelity.launch
    config = read_config(launch, project, f"{key}.launch")
    kind = config.get("distributed_type")
    if kind in SPREAD and fidelity.model.lora is not None:
        raise UserError(
            f"{key}.launch.config: {launch.config} spreads the model ({kind}), but adapters are "
            "merged into a whole one; allowed: null, or no model.lora"
        )
    if not elsewhere:
        _check_machine(launch, config, f"{key}.launch")


def _check_machine(launch: LaunchSettings, config: Mapping[str, Any], key: str) -> None:
    if config.get("distributed_type") == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise UserError(
            f"{key}.config: {launch.config} needs the package deepspeed, which is not installed; "
            "allowed: with it, or conf/accelerate/fsdp.yaml"
        )
    if launch.processes == 1 or config.get("num_machines", 1) > 1:
        return
    import torch

    gpus = torch.cuda.device_count()
    if torch.cuda.is_available() and launch.processes > gpus:
        raise UserError(
            f"{key}.processes: {launch.processes}, but this machine has {gpus} GPUs; allowed: at "
            "most as many"
        )


def launch_command(launch: LaunchSettings, project: Path) -> list[str]:
    """The command that launches processes, up to what they run.

    Args:
        launch: How many, and how.
        project: Where a relative path of the config file starts.

    Raises:
        UserError: If the config file cannot be read.
    """
    machines = read_config(launch, project, "launch").get("num_machines", 1)
    options = ["--num_processes", str(launch.processes)]
    if launch.config is None:
        # All that accelerate would else take from a config file of the user's.
        options += ["--multi_gpu", "--num_machines", "1"]
        options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    else:
        options += ["--config_file", str(project / launch.config)]
    module = "accelerate.commands.launch"
    if machines == 1:
        module = ON_ONE_MACHINE
        options += ["--main_process_port", "0"]  # a free one: trials may share a machine
    return [sys.executable, "-m", module, *options]


def read_config(launch: LaunchSettings, project: Path, key: str) -> dict[str, Any]:
    """Accelerate's config file; empty where none is named.

    Args:
        launch: Names it.
        project: Where a relative path starts.
        key: Where the launch stands in the config, for the message.

    Raises:
        UserError: If it cannot be read, or holds no settings.
    """
    if launch.config is None:
        return {}
    from accelerate.commands.config.config_args import (
        load_config_from_file,
    )

    path = project / launch.config
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        load_config_from_file(str(path))
        check_section(config)
        machines = config.get("num_machines", 1)
        if not isinstance(machines, int) or machines < 1:
            raise ValueError(f"num_machines is {machines!r}, and no number from 1 on")
    except Exception as error:  # accelerate raises whatever it meets in a file that is not its own
        reason = str(error.strerror) if isinstance(error, OSError) else one_line(error)
        raise UserError(
            f"{key}.config: {launch.config} cannot be used ({reason}); allowed: a config file of "
            "accelerate, relative to the project"
        ) from error
    return dict(config)

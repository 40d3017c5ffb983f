"""What a config file of accelerate says of spreading a model over devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admire_pipeline.errors import suggest_nearest

SPREAD = {"FSDP": "fsdp_config", "DEEPSPEED": "deepspeed_config"}
"""Types of config that spread one model over the devices, and their sections."""


def check_section(config: Mapping[str, Any]) -> None:
    """Check the names and values of the section: accelerate drops a name that it does not know.

    So a mistyped `fsdp_version` would be another FSDP, and a mistyped value an error of every
    process once they are launched.

    Raises:
        ValueError: If one is not accelerate's.
    """
    section = SPREAD.get(str(config.get("distributed_type")))
    if section is None:
        return
    from accelerate.commands.launch import (
        launch_command_parser,
    )
    from accelerate.utils import constants

    known = vars(launch_command_parser().parse_args(["script"]))
    allowed = {
        "fsdp_version": ["1", "2"],
        "fsdp_auto_wrap_policy": constants.FSDP_AUTO_WRAP_POLICY,
        "fsdp_state_dict_type": constants.FSDP_STATE_DICT_TYPE,
        "fsdp_sharding_strategy": [*constants.FSDP_SHARDING_STRATEGY, *"12345"],
        "fsdp_backward_prefetch": [*constants.FSDP_BACKWARD_PREFETCH, *"123"],
        "zero_stage": ["0", "1", "2", "3"],
        # Its flags are words, with a word for default.
        **{name: ["true", "false"] for name, value in known.items() if value in ("true", "false")},
    }
    for given, value in (config.get(section) or {}).items():
        # As accelerate reads it.
        name = given if section != SPREAD["FSDP"] or "fsdp" in given else f"fsdp_{given}"
        if name not in known:
            raise ValueError(
                f"{section}: unknown {given!r}; {suggest_nearest(name, known)}".rstrip("; ")
            )
        if name in allowed and str(value).upper() not in map(str.upper, allowed[name]):
            raise ValueError(
                f"{section}.{given} is {value!r}, and none of {', '.join(allowed[name])}"
            )

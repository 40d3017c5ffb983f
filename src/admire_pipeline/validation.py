"""Settings models checked so that every fault is one line with the nearest valid key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError

from admire_pipeline.errors import UserError, suggest

_WORDS = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "string_pattern_mismatch": "letters and digits, then also _ . - (pattern {pattern})",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
    "tuple_type": "a list",
}
"""Pydantic's kinds of fault that read better in our words."""

Model = TypeVar("Model", bound=BaseModel)


def validate_settings(model: type[Model], values: Mapping[str, Any], key: str = "") -> Model:
    """Build settings from a plain mapping, as read from a config file.

    Args:
        model: The settings model.
        values: Its fields.
        key: Where the mapping stands in the config, for the message.

    Raises:
        UserError: One line about the first fault: key, value and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(model, error, key)) from None


def _explain(model: type[BaseModel], error: ValidationError, key: str) -> str:
    fault = error.errors(include_url=False)[0]
    path = [str(part) for part in fault["loc"] if part != "[key]"]
    where = ".".join([key, *path] if key else path)
    if fault["type"] == "extra_forbidden":
        fields = getattr(_annotation(model, path[:-1]), "model_fields", {})
        return f"{where}: unknown key; {suggest(path[-1], fields)}"
    if fault["type"] == "missing":
        field = getattr(_annotation(model, path[:-1]), "model_fields", {}).get(path[-1])
        kind = "a value" if field is None else getattr(field.annotation, "__name__", "a value")
        return f"{where}: missing; allowed: {kind}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if fault["type"] == "value_error":
        return f"{where}: {message}"
    allowed = _WORDS.get(fault["type"], message).format(**fault.get("ctx", {}))
    return f"{where}: {fault['input']!r} is not allowed; allowed: {allowed}"


def _annotation(model: type[BaseModel], path: Iterable[str]) -> Any:
    """Type of what stands at `path` within the model."""
    at: Any = model
    for part in path:
        if isinstance(at, type) and issubclass(at, RootModel):
            at = at.model_fields["root"].annotation
        if get_origin(at) is dict:
            at = get_args(at)[1]
        elif isinstance(at, type) and issubclass(at, BaseModel) and part in at.model_fields:
            at = at.model_fields[part].annotation
        else:
            return None
    return at

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel

from admire_pipeline.errors import UserError
from admire_pipeline.validation import validate_settings


class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(gt=0)
    colour: str = "red"


class Leaves(RootModel[dict[str, Leaf]]):
    pass


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")
    leaves: Leaves
    branches: dict[str, Leaf] = {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"leaves": {"a": {"size": 1, "color": "blue"}}},
            "tree.leaves.a.color: unknown key; did you mean 'colour'? allowed: size, colour",
        ),
        (
            {"leaves": {}, "branches": {"b": {"size": 1, "zzz": 1}}},
            "tree.branches.b.zzz: unknown key; allowed: size, colour",
        ),
        ({"leaves": {"a": {}}}, "tree.leaves.a.size: missing; allowed: int"),
        (
            {"leaves": {"a": {"size": 0}}},
            "tree.leaves.a.size: 0 is not allowed; allowed: greater than 0",
        ),
        (
            {"leaves": {"a": {"size": "many"}}},
            "tree.leaves.a.size: 'many' is not allowed; allowed: a valid integer",
        ),
        ({"leaves": []}, "tree.leaves: [] is not allowed; allowed: a mapping"),
    ],
)
def test_one_line_with_key_value_and_what_is_allowed(values: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        validate_settings(Tree, values, "tree")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_good_settings_pass() -> None:
    tree = validate_settings(Tree, {"leaves": {"a": {"size": 2}}})
    assert tree.leaves.root["a"].size == 2

"""The JSON schema agrees with every configuration that loads, and not with mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from saliency import Magnitude
from sleepengine.files import strict_yaml
from sleepengine.pipeline.configuration.config import json_schema
from sleepengine.pipeline.configuration.tables import Plugins

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def agrees(data: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON schema that ours uses, written out plainly."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if not agrees(data, root["$defs"][name], root):
            return False
    if "anyOf" in schema and not any(agrees(data, one, root) for one in schema["anyOf"]):
        return False
    if "enum" in schema and data not in schema["enum"]:
        return False
    if "const" in schema and data != schema["const"]:
        return False
    if "type" in schema:
        if not isinstance(data, TYPES[schema["type"]]):
            return False
        if isinstance(data, bool) and schema["type"] != "boolean":
            return False
    if isinstance(data, str) and "pattern" in schema and not re.search(schema["pattern"], data):
        return False
    if isinstance(data, int | float) and data < schema.get("minimum", data):
        return False
    if isinstance(data, list):
        few, many = schema.get("minItems", 0), schema.get("maxItems", len(data))
        items = schema.get("items", {})
        return few <= len(data) <= many and all(agrees(one, items, root) for one in data)
    if isinstance(data, dict):
        known = schema.get("properties", {})
        other = schema.get("additionalProperties", True)
        if any(key not in data for key in schema.get("required", [])):
            return False
        if not schema.get("minProperties", 0) <= len(data) <= schema.get("maxProperties", 99):
            return False
        for key, value in data.items():
            if key not in known and other is False:
                return False
            inner = known.get(key, other if isinstance(other, dict) else {})
            if not agrees(value, inner, root):
                return False
    return True


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(one) for one in node.values()))
    return set().union(*(references(one) for one in node)) if isinstance(node, list) else set()


def test_every_reference_has_its_definition_and_all_is_json():
    schema = json_schema()
    assert references(schema) == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert json.loads(json.dumps(schema)) == schema
    assert "x-kind" not in json.dumps(schema)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_agrees(path):
    schema = json_schema()
    assert agrees(strict_yaml.load_file(path).data, schema, schema)


FINE = {
    "model": {"mlp": {"sizes": [8]}},
    "train": {"length": "3ep50it", "optimizer": {"SGD": {"lr": 0.1}}},
    "rules": [
        {
            "when": {"every": {"interval": "100it"}},
            "who": {"scorer": "Magnitude", "amount": {"to": {"cubic": [0, 0.9]}}},
            "what": {"Wake": {"value": "zero"}},
        }
    ],
}


@pytest.mark.parametrize(
    ("path", "value", "agreed"),
    [
        ((), None, True),
        (("train", "length"), 30, False),
        (("train", "length"), "30", False),
        (("train", "length"), "", False),
        (("train", "batch_size"), 0, False),
        (("train", "optimizer"), {"SDG": {}}, False),
        (("train", "optimizer"), {"SGD": {"params": []}}, False),
        (("train", "optimizer"), "Adam", True),
        (("modell",), "mlp", False),
        (("model",), "mlp", False),
        (("model",), "lenet_300_100", True),
        (("experiment",), "tran", False),
        (("rules", 0, "what"), "Slep", False),
        (("rules", 0, "what"), "Sleep", True),
        (("rules", 0, "when"), {"every": {"intervall": "1ep"}}, False),
        (("rules", 0, "when"), {"not": {"after": "1ep"}}, True),
        (("rules", 0, "who", "scorer"), "Magnitud", False),
        (("rules", 0, "who", "scorer"), {"Lamp": {"Magnitude": 2}}, True),
        (("rules", 0, "who", "amount"), 0.9, False),
        (("rules", 0, "nam"), "x", False),
        (("engine",), {"memory": "lean", "params": ["fc*"]}, True),
        (("engine",), {"memory": "loan"}, False),
    ],
)
def test_what_editors_mark(path, value, agreed):
    data = json.loads(json.dumps(FINE))
    here = data
    for key in path[:-1]:
        here = here[key]
    if path:
        here[path[-1]] = value
    schema = json_schema()
    assert agrees(data, schema, schema) is agreed


def test_descriptions_come_from_the_first_lines():
    defs = json_schema()["$defs"]
    by_name = defs["scorer"]["anyOf"][1]["properties"]
    assert by_name["Magnitude"]["description"] == "s = |w|^p."
    assert defs["trigger"]["anyOf"][0]["properties"]["once"]["description"] == "Fire at time only."
    assert json_schema()["properties"]["seeds"]["description"] == "One run per seed."


def test_own_names_are_in_it():
    enum = json_schema(Plugins({"Mine": Magnitude}))["$defs"]["scorer"]["anyOf"][0]["enum"]
    assert "Mine" in enum
    assert "Mine" not in json_schema()["$defs"]["scorer"]["anyOf"][0]["enum"]

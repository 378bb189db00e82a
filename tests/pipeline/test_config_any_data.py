"""Whatever stands in a file, loading it gives a configuration or ConfigError, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.errors import ConfigError
from sleepengine.files import strict_yaml
from sleepengine.pipeline.configuration.config import Config, load

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
DATA = [strict_yaml.load_file(path).data for path in FILES]
NAMES = [
    "Magnitude",
    "Sleep",
    "every",
    "to",
    "cubic",
    "ERK",
    "Factors",
    "mlp",
    "SGD",
    "init",
    "when",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**12),
    st.floats(-2, 200),
    st.sampled_from([*NAMES, "1ep", "5it", "10%", "", "x"]),
)
KEYS = st.sampled_from([*NAMES, "scorer", "interval", "f", "p", "x", "and", "value"])
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=6,
)


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in `data`."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in pairs:
        found.append((data, key))
        if isinstance(value, dict | list):
            found += places(value)
    return found


def loaded(text: str) -> Config | ConfigError:
    try:
        return load(text)
    except ConfigError as error:
        return error


@given(st.sampled_from(DATA), ANY, st.data())
@settings(max_examples=300, deadline=None)
def test_a_value_replaced_by_anything(data, value, choose):
    changed = copy.deepcopy(data)
    container, key = choose.draw(st.sampled_from(places(changed)))
    if isinstance(container, dict) and choose.draw(st.booleans()):
        container[choose.draw(KEYS)] = value
    else:
        container[key] = value
    text = strict_yaml.dump(changed)
    found = loaded(text)
    if isinstance(found, Config):
        assert load(found.dump()) == found
    else:
        assert all(line.startswith("<text>:") for line in str(found).splitlines())

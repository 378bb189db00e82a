import math
import random
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sleepengine.errors import ConfigError
from sleepengine.files import strict_yaml
from sleepengine.files.strict_yaml import Mark, dump, load, load_file

RECIPE = """\
# a recipe
seed: 0
model: {mlp: {sizes: [300, 100]}}
rules:
  - when: {every: 100it, after: 1ep}
    who: {scorer: Magnitude, amount: {by: {cosine: [0.3, 0.0]}}}
    what: Sleep
  - when: "5ep"
    what:
      Wake: {value: zero}
note: |
  two
  lines
"""


def same(a, b):
    """Equal with equal types, so that True is not 1 and 1 is not 1.0."""
    if type(a) is not type(b):
        return False
    if type(a) is list:
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if type(a) is float:
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("+1", 1),
        ("-17", -17),
        ("0", 0),
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        ("0.25", 0.25),
        ("9223372036854775807", 2**63 - 1),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("2024-01-02", "2024-01-02"),
        ("=", "="),
        ("1e", "1e"),
        ("٣", "٣"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"null"', "null"),
        ("'<<'", "<<"),
        ("{}", {}),
        ("[]", []),
        ("--- 3", 3),
        ("3\n...\n", 3),
        ("a:\nb: []", {"a": None, "b": []}),
        ("no: off", {"no": "off"}),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_scalars_and_collections(text, value):
    assert same(load(text, "f").data, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", r"^f:2:1: the key 'a' is here twice; first at line 1$"),
        ("a: {b: 1, b: 2}", r"^f:1:11: the key 'b' is here twice"),
        ("a: &x 1", r"^f:1:4: the anchor &x"),
        ("a: [1]\nb: *a", r"^f:2:4: the alias \*a"),
        ("&a [*a]", r"^f:1:1: the anchor &a"),
        ("a: !!python/object:os.system x", r"^f:1:4: the tag tag:yaml.org,2002:python/object"),
        ("a: !!str 1", r"^f:1:4: the tag"),
        ("a: ! 1", r"^f:1:4: the tag !"),
        ("!x {a: 1}", r"^f:1:1: the tag !x"),
        ("<<: {a: 1}", r"^f:1:1: merge keys"),
        ("1: a", r"^f:1:1: a key must be text, found 1 \(int\)"),
        ("true: a", r"^f:1:1: a key must be text, found True"),
        ("? \n: a", r"^f:\d:\d: a key must be text, found None \(null\)"),
        ("? [a]\n: 1", r"^f:1:3: a key must be text, not a list"),
        ("a: 1\n---\nb: 2", r"^f:2:1: a second document"),
        ("%YAML 1.1\n--- a", r"^f:1:1: directives"),
        ("%TAG ! tag:x\n--- a", r"^f:1:1: directives"),
        ("%YAML 1." + "9" * 5000 + "\n--- a", r"^f:1:1: this is not valid YAML"),
        (r'a: "\Uffffffff"', r"^f:1:\d+: "),
        ('a: "\\ud800"', r"^f:1:4: half of a surrogate"),
        ("a: \ud800", r"^f:1:4: half of a surrogate"),
        ("a: \x00", r"^f:1:4: the character"),
        ("a:\n b\x07", r"^f:2:3: the character"),
        ("a: 012", r"^f:1:4: 012 has a leading zero"),
        ("a: -00.5", r"^f:1:4: -00.5 has a leading zero"),
        ("a: " + "1" * 20, r"^f:1:4: 1+ has more than 19 digits"),
        ("a: " + "1" * 5000, r"^f:1:4: 1+\.\.\. has more than 19 digits"),
        ("a: 1e999", r"^f:1:4: 1e999 is too large"),
        ("a: .inf", r"^f:1:4: .inf is not a finite"),
        ("a: -.INF", r"^f:1:4: -.INF is not a finite"),
        ("a: .nan", r"^f:1:4: .nan is not a finite"),
        ("a: [1, 2", r"^f:1:9: while parsing a flow sequence"),
        ("a: b: c", r"^f:1:5: mapping values are not allowed"),
        ("a:\n\t- 1", r"^f:2:1: "),
        ("a: 'x", r"^f:1:6: "),
        ("a: " + "x" * 9000, r"^f:1:4: a value longer than 8192"),
        ("#" * (256 * 1024 + 1), r"^f:1:1: 262145 bytes"),
        ("- 1\n" * 20_001, r"^f:20000:3: more than 20000 values"),
        ("[" * 100_000, r"^f:1:25: nested deeper than 24"),
        ("{a: " * 25, r"^f:1:97: nested deeper than 24"),
        ("- " * 100_000, r"^f:1:49: nested deeper than 24"),
        ("? " * 100_000, r"^f:1:3: a key must be text"),
    ],
)
def test_refusals_say_where(text, message):
    with pytest.raises(ConfigError, match=message):
        load(text, "f")


def test_depth_limit_is_exact():
    assert load("[" * 24 + "]" * 24, "f").data
    with pytest.raises(ConfigError, match="24 levels"):
        load("[" * 25 + "]" * 25, "f")


def test_where_points_at_values_and_keys():
    document = load(RECIPE, "r.yaml")
    assert document.where(("seed",)) == Mark(2, 7)
    assert document.where_key(("seed",)) == Mark(2, 1)
    assert document.where(("rules", 0, "who", "scorer")) == Mark(6, 19)
    assert document.where(("rules", 1, "what", "Wake", "value")) == Mark(10, 21)
    assert document.where_key(("rules", 1, "what", "Wake")) == Mark(10, 7)
    assert document.where_key(("rules", 1)) == document.where(("rules", 1)) == Mark(8, 5)


def test_where_falls_back_to_the_nearest_parent():
    document = load(RECIPE, "r.yaml")
    assert document.where(("rules", 1, "missing", "x")) == Mark(8, 5)
    assert document.where(("nowhere",)) == document.where(()) == Mark(2, 1)
    error = document.error(("rules", 1, "what"), "no", at_key=True)
    assert str(error) == "r.yaml:9:5: no"


def test_load_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    assert load_file(path).data == load(RECIPE, "").data
    assert load_file(path).data["note"] == "two\nlines\n"
    with pytest.raises(ConfigError, match=r"none.yaml:1:1: the file cannot be read: No such file"):
        load_file(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_file(tmp_path)
    with pytest.raises(ConfigError, match="null byte"):
        load_file("a\0b")
    path.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(ConfigError, match=r"r.yaml:2:4: the byte 0xff is not UTF-8"):
        load_file(path)
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(ConfigError, match="larger than the limit of 262144"):
        load_file(path)


def test_dump_is_readable():
    data = load(RECIPE, "").data
    assert dump(data) == (
        "seed: 0\n"
        "model:\n"
        "  mlp:\n"
        "    sizes: [300, 100]\n"
        "rules:\n"
        "  - when:\n"
        "      every: 100it\n"
        "      after: 1ep\n"
        "    who:\n"
        "      scorer: Magnitude\n"
        "      amount:\n"
        "        by:\n"
        "          cosine: [0.3, 0.0]\n"
        "    what: Sleep\n"
        "  - when: 5ep\n"
        "    what:\n"
        "      Wake:\n"
        "        value: zero\n"
        'note: "two\\nlines\\n"\n'
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": {1, 2}}, r"the data\['a'\]: set cannot be written"),
        ({"a": [1, (2,)]}, r"the data\['a'\]\[1\]: tuple"),
        ({1: 2}, "a key must be text, found 1"),
        ({"a": float("nan")}, "not a finite"),
        ({"a": float("-inf")}, "not a finite"),
        ([10**19], "19 digits"),
        (["x" * 9000], "longer than 8192"),
        (["\ud800"], "surrogate"),
        ([1] * 20_000, "more than 20000"),
    ],
)
def test_dump_refuses_what_load_would_not_give_back(data, message):
    with pytest.raises(ConfigError, match=message):
        dump(data)


def test_dump_refuses_cycles():
    cycle = []
    cycle.append(cycle)
    with pytest.raises(ConfigError, match="too deep"):
        dump(cycle)


TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["no", "1e-3", "012", "<<", "...", "---", "- a", "a: b", "a #b", " a", "a ",
                     "~", "&a", "*a", "!a", "%a", "@a", "[", "{}", "'", '"', "\\", "\x85", "\u2028",
                     "\ufeff", "a\n\nb", "1:30", "\t", "?", "? a", "key" * 500]),
)  # fmt: skip
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**19) + 1, 10**19 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
)
DATA = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=600, deadline=None)
@given(DATA)
def test_dump_then_load_gives_the_same(data):
    assert same(load(dump(data), "f").data, data)


def outcome(text):
    """Plain data, or None for a ConfigError; anything else escapes and fails the test."""
    try:
        return load(text, "f").data
    except ConfigError as error:
        message = str(error)
    assert re.match(r"f:\d+:\d+: .", message)
    return None


def is_plain(data):
    if type(data) is dict:
        return all(type(k) is str and is_plain(v) for k, v in data.items())
    if type(data) is list:
        return all(map(is_plain, data))
    return data is None or type(data) in (str, int, float, bool)


@settings(max_examples=1000, deadline=None)
@given(st.text(max_size=60) | st.text("[]{}:,-?&*!|>'\"%@`#\\ \n\tax01.<~", max_size=60))
@example("%YAML 1.x")
@example('"\\U00110000"')
@example("%TAG")
def test_any_text_gives_plain_data_or_a_config_error(text):
    assert is_plain(outcome(text))


def test_mutated_recipes_give_plain_data_or_a_config_error():
    words = ["<<", "---\n", "&a", "*a", "!!int ", "\\x", "\ud9ff"]
    pieces = [*"[]{}:,-?&*!|>'\"%@`#\\ \n\t", *words]
    draw = random.Random(0)
    read = 0
    for _ in range(3000):
        letters = list(RECIPE)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(letters))
            letters[at : at + draw.randint(0, 3)] = [draw.choice(pieces)]
        data = outcome("".join(letters))
        assert is_plain(data)
        read += data is not None
    assert 0 < read < 3000


def test_the_c_parser_is_never_used():
    source = Path(strict_yaml.__file__).read_text(encoding="utf-8")
    assert "CSafe" not in source
    assert "CLoader" not in source

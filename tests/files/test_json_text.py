import pytest

from sleepengine.files import json_text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ('{"a": 1, "a": 1}', "the key 'a' is there twice"),
        ('[{"b": {"c": 1, "d": 2, "c": 3}}]', "the key 'c' is there twice"),
        ("[NaN]", "NaN is not allowed"),
        ("-Infinity", "-Infinity is not allowed"),
        ("[" * 100_000, "recursion"),
        ("1" * 5000, "digits"),
        (b"\xff", "decode"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        json_text.parse(text)


def test_what_is_read():
    assert json_text.parse(b'{"a": [1, 2.5, null, true, "\\u00e4"]}') == {
        "a": [1, 2.5, None, True, "ä"]
    }


def test_the_digest_is_of_the_values():
    one = {"a": 1, "b": {"c": [1, 2]}}
    assert json_text.digest(one) == json_text.digest({"b": {"c": [1, 2]}, "a": 1})
    assert json_text.digest(one) != json_text.digest({"b": {"c": [2, 1]}, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        json_text.digest({"a": float("nan")})

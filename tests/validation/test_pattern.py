from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator, RegexOptions

from matrixdata.validation.automaton import Automaton
from matrixdata.validation.pattern import MAX_STEPS, PatternError

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\d", "[a-c\\d]", "\\.", "é", "[^\\W_]", "\\n"])


def _grown(inner):
    repeats = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,3}", "{2,}", "{0}", "*?", "+?"])
    return st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: f"(?:{'|'.join(items)})"),
        st.tuples(inner, repeats).map(lambda pair: f"({pair[0]}){pair[1]}"),
    )


BRANCHES = st.tuples(
    st.sampled_from(["", "^"]), st.recursive(ATOMS, _grown, max_leaves=6), st.sampled_from(["", "$"])
)
PATTERNS = st.lists(BRANCHES.map("".join), min_size=1, max_size=2).map("|".join)
TEXTS = st.text("abc1.é_\n\r\u2028", max_size=8)


def pythons(pattern):
    """The same language for Python's `re`, an engine made by others."""
    dot = pattern.replace("\\.", "\0").replace(".", "[^\\n\\r\u2028\u2029]").replace("\0", "\\.")
    return re.compile(dot.replace("$", "\\Z"), re.ASCII)


@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=10))
def test_three_engines_find_the_same(pattern, texts):
    ours = Automaton(pattern)
    rust = Draft202012Validator(
        {"pattern": ours.portable}, offline=True, pattern_options=RegexOptions(), validate_formats=False
    )
    python = pythons(pattern)
    for text in texts:
        assert ours.search(text) == bool(python.search(text)) == rust.is_valid(text)


@given(st.text(max_size=30) | st.text("ab()[]{}?*+|^$\\\\,-123dwsux:", max_size=20))
def test_any_text_is_a_pattern_or_is_refused_never_a_crash(text):
    with contextlib.suppress(PatternError):
        Automaton(text).search(text)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("^$", [""], ["a", "\n"]),
        ("^a$", ["a"], ["a\n", "\na", "aa"]),
        ("a|^b$", ["xa", "b"], ["bb", ""]),
        ("^\\d+$", ["0123"], ["\u0663", "\u07c0"]),
        ("^\\w$", ["_", "a"], ["é"]),
        ("^\\s$", ["\u00a0", "\ufeff", "\u2029"], ["\u180e", "\u200b"]),
        ("^.$", ["\U0001f332", "\u0085"], ["\n", "\r", "\u2028", "ab"]),
        ("^\\u{1f332}\\ud83c\\udf32$", ["\U0001f332\U0001f332"], ["\U0001f332"]),
        ("^[\\ud7ff-\\ue000]$", ["\ud7ff", "\ue000"], ["a"]),
        ("^[\\]\\-\\\\^]+$", ["]-\\^"], ["a"]),
        ("^[a-]$", ["a", "-"], ["b"]),
        ("^(?:a{2}){2,3}$", ["aaaa", "aaaaaa"], ["aaa", "aaaaa", "a" * 8]),
        ("^(?:a?){3}b$", ["b", "aaab"], ["aaaab"]),
        ("^&&~~[&&a~~]$", ["&&~~&", "&&~~a"], ["&&~~b"]),
    ],
)
def test_the_dialect_means_what_ecma_says(pattern, matching, other):
    ours = Automaton(pattern)
    rust = Draft202012Validator({"pattern": ours.portable}, offline=True, pattern_options=RegexOptions())
    for text in matching + other:
        assert ours.search(text) == rust.is_valid(text) == (text in matching), text


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("(?=a)", "look-around"),
        ("(?<!a)b", "look-around"),
        ("(?<name>a)", "named groups"),
        ("(a)\\1", "back-references"),
        ("\\bword", "\\b"),
        ("\\p{L}", "Unicode versions"),
        ("a(^b)", "'^' may only stand at the start"),
        ("a$b", "'$' may only stand at the end"),
        ("a\\Z", "'$'"),
        ("(a", "not closed"),
        ("[a", "not closed"),
        ("a)", "partner"),
        ("*a", "nothing to act on"),
        ("a**", "cannot be repeated"),
        ("a*+", "cannot be repeated"),
        ("{", "nothing to act on"),
        ("a{,3}", "repetition such as"),
        ("a{3,2}", "out of order"),
        ("[z-a]", "out of order"),
        ("[\\d-z]", "single characters"),
        ("[]", "empty character class"),
        ("[^\\s\\S]", "empty character class"),
        ("\\ud83c", "no Unicode character"),
        ("a\\", "not closed"),
        (f"a{{{MAX_STEPS + 1}}}", "maxLength"),
        ("(?:a{100}){100}", "written out"),
        ("a" * 513, "at most 512"),
        ("(" * 30 + ")" * 30, "nested deeper"),
        ("(?i)a", "(?:"),
    ],
)
def test_what_is_left_out_is_refused_with_advice(pattern, hint):
    with pytest.raises(PatternError) as caught:
        Automaton(pattern)
    assert hint in str(caught.value)

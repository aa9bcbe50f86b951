"""Everything that parses what others wrote reads it or refuses it, and raises nothing else.

Longer, guided by which lines are reached: `python -m bench.fuzz_parsers`.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.hostile import odd
from bench.parsers import parsers

NO_EXAMPLE = ("metadata",)  # a whole config would be needed; `tests/test_export.py` reads real ones


@pytest.mark.parametrize("name", sorted(parsers()))
def test_sound_examples_are_read(name: str) -> None:
    for example in parsers()[name].examples:
        assert parsers()[name].takes(example) != (name in NO_EXAMPLE), example


@pytest.mark.parametrize("name", sorted(parsers()))
@settings(max_examples=40, deadline=None, derandomize=True)
@given(random=st.randoms(use_true_random=False), data=st.data())
def test_bent_examples_are_read_or_refused(name: str, random: Random, data: st.DataObject) -> None:
    parser = parsers()[name]
    example = data.draw(st.sampled_from(parser.examples))
    parser.takes(data.draw(st.one_of(st.just(odd.bent_bytes(example, random)), st.binary(max_size=40))))


@pytest.mark.parametrize("name", ["box", "correction", "moment", "bytes", "lora", "gate", "swap", "server", "prices"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.text(st.sampled_from("0123456789.,:;=+-@xXeEsGBhgpu/ \n²½٣"), max_size=24))
def test_texts_of_the_grammars_letters(name: str, text: str) -> None:
    parsers()[name].takes(text.encode())

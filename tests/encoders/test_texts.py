"""Test lists of texts as callers give them: anything but a list of strings is named before encoding starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.encoders.calibration import calibrate_model
from mlret.encoders.encoder import Encoder
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.texts import checked_texts
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.vocabulary.trim import trim_vocabulary

TEXTS = ["the cat", "seven dogs"]


@pytest.fixture(scope="module")
def doors(tiny_encoder: Encoder) -> dict[str, Callable[[Any], Any]]:
    """Return every function that takes a list of texts and encodes it."""
    tokens = TokenEncoder(multi_vector_encoder(tiny_encoder, dims=8, device="cpu"))
    prompted = Encoder(load_encoder(tiny_encoder.name, device="cpu").model)
    prompted.model.prompts = {"query": "query: ", "document": "passage: "}
    external = ExternalEncoder("elsewhere", 4)
    return {
        "encode": tiny_encoder.encode,
        "encode_query": tiny_encoder.encode_query,
        "encode_document": tiny_encoder.encode_document,
        "embed": tiny_encoder.embed,
        "prompted encode_query": prompted.encode_query,
        "prompted encode_document": prompted.encode_document,
        "tokens encode_query": tokens.encode_query,
        "tokens encode_document": tokens.encode_document,
        "external encode": external.encode,
        "external encode_query": external.encode_query,
    }


BAD = {
    "one string": ("the cat", r"texts are one string, 'the cat': give a list, \['the cat'\]"),
    "one string of an array": (np.str_("the cat"), "texts are one string"),
    "bytes": (b"the cat", "texts are of type bytes"),
    "nothing": (None, r"texts are nothing \(None\)"),
    "a number": (5, "texts are of type int"),
    "an array without dimensions": (np.array("cat"), "texts are of type ndarray"),
    "a mapping": ({"en": "cat"}, "texts are of type dict"),
    "a set": ({"cat"}, "texts are of type set"),
    "bytes in a list": (["cat", b"dog"], "text 1 is bytes, not a string"),
    "a missing value": (["cat", None], "text 1 is NoneType, not a string"),
    "a missing value of pandas": (pd.Series(["cat", np.nan], dtype=object), "text 1 is float, not a string"),
    "a matrix": (np.array([["a", "b"]]), "text 0 is ndarray, not a string"),
    "a lone surrogate": (
        ["cat", "ok", "caf\udce9"],
        r"text 2 holds half a surrogate pair, '\\udce9' at character 3; decode its bytes",
    ),
    "a pair of surrogates": (["\ud83d\ude00"], r"text 0 holds half a surrogate pair, .* at character 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_arguments_that_are_no_lists_of_texts_are_refused(doors: dict[str, Callable[[Any], Any]], name: str) -> None:
    given_, message = BAD[name]
    for door, encode in doors.items():
        if not door.startswith("external"):
            with pytest.raises(InputError, match=message):
                encode(given_)
        else:
            with pytest.raises(InputError):
                encode(given_)


@pytest.mark.parametrize(
    "texts",
    [
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        pd.Series(TEXTS, index=[7, 3]),
        dict.fromkeys(TEXTS).keys(),
    ],
    ids=["tuple", "numpy", "numpy objects", "pandas", "keys"],
)
def test_other_sequences_of_texts_get_the_same_vectors(doors: dict[str, Callable[[Any], Any]], texts: Any) -> None:
    for door, encode in doors.items():
        if not door.startswith("external"):
            for found, expected in zip(encode(texts), encode(TEXTS[: len(texts)]), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_a_generator_is_read_once(doors: dict[str, Callable[[Any], Any]]) -> None:
    def some() -> Iterator[str]:
        yield from TEXTS

    for door, encode in doors.items():
        if not door.startswith("external"):
            assert len(encode(some())) == 2 == len(encode(list(some())))


@given(st.lists(st.text(st.characters(codec=None), max_size=5), max_size=5))
def test_texts_pass_exactly_where_utf8_can_hold_them(texts: list[str]) -> None:
    bad = [
        position for position, text in enumerate(texts) if any("\ud800" <= character <= "\udfff" for character in text)
    ]
    if not bad:
        assert checked_texts(texts) == texts
    else:
        with pytest.raises(InputError, match=f"^text {bad[0]} holds half a surrogate pair"):
            checked_texts(texts)


@pytest.mark.parametrize(
    ("language", "message"),
    [
        (5, "the language is of type int"),
        (["en"], "2 texts but 1 language:"),
        (["en", 5], "language 1 is int"),
        ([b"en", "sw"], "language 0 is bytes"),
    ],
)
def test_languages_that_are_none_are_named(doors: dict[str, Callable[..., Any]], language: Any, message: str) -> None:
    for door in ("encode", "encode_query", "tokens encode_query", "prompted encode_document"):
        with pytest.raises(InputError, match=message):
            doors[door](TEXTS, language=language)


def test_calibration_and_trimming_name_such_texts(tiny_encoder: Encoder) -> None:
    model = load_encoder(tiny_encoder.name, device="cpu").model
    with pytest.raises(InputError, match="the en sentences are one string"):
        calibrate_model(model, {"en": "the cat sat", "sw": TEXTS})
    with pytest.raises(InputError, match="en sentence 1 holds half a surrogate pair"):
        calibrate_model(model, {"en": ["cat", "\udce9"], "sw": TEXTS})
    with pytest.raises(InputError, match=r"sw.* is one string"):
        trim_vocabulary(tiny_encoder, corpus={"sw": "the cat"})
    for corpus in ("the cat", b"the cat", 5, [b"cat"], [("sw", b"cat")], ["cat", None]):
        with pytest.raises(InputError, match="corpus"):
            trim_vocabulary(tiny_encoder, languages=["sw"], corpus=corpus)
    for texts in ({"sw": ["cat", "\udce9"]}, ["cat", "\udce9"]):
        with pytest.raises(InputError, match="half a surrogate pair"):
            trim_vocabulary(tiny_encoder, languages=["sw"], corpus=texts)

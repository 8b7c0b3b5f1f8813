"""Test that hard negatives are those that brute force and the written-out rules give."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret import Encoder, Index, TokenEncoder
from mlret.data.held_out import normalised
from mlret.data.ranking import RankingExample, read_ranking
from mlret.errors import InputError
from mlret.index.settings import IndexSettings
from mlret.training.labels.mining import Mined, index_passages, mine_negatives, mine_to_file
from mlret.training.labels.mining_report import MiningReport
from mlret.training.labels.mining_settings import MiningSettings
from mlret.training.labels.teachers import similarity
from tests.conftest import WORDS

FREE = MiningSettings(relative_margin=None)


def changed(options: MiningSettings, **changes: object) -> MiningSettings:
    return MiningSettings(**{**options.model_dump(), **changes})


def free(**changes: object) -> MiningSettings:
    return changed(FREE, **changes)


def made(count: int = 40, seed: int = 0) -> list[RankingExample]:
    """Return examples of random words in two languages."""
    draw = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(draw.choices(WORDS, k=words))

    return [
        RankingExample(
            text(4),
            (text(9),),
            (text(8),),
            language=("en", "sw")[number % 2],
            query_id=f"q{number}",
            passage_ids=(f"p{number}", None),
        )
        for number in range(count)
    ]


EXAMPLES = made()


@pytest.fixture(scope="module")
def index(tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with index_passages(tmp_path_factory.mktemp("mined") / "index", EXAMPLES, tiny_encoder, lexical=True) as index:
        yield index


def mine(index: Index | Encoder | TokenEncoder, options: MiningSettings, examples: list[RankingExample]) -> list[Mined]:
    return list(mine_negatives(examples, index, options, batch_size=7))


@pytest.fixture(scope="module")
def similarities(tiny_encoder: Encoder) -> list[dict[tuple[str, str | None], float]]:
    """Return, for each example, passage and language -> cosine, rounded to the six decimals of an index."""
    passages = list(dict.fromkeys(pair for one in EXAMPLES for pair in zip(one.passages, one.languages, strict=True)))
    vectors = tiny_encoder.encode([text for text, _ in passages]).astype(np.float64)
    queries = tiny_encoder.encode([one.query for one in EXAMPLES]).astype(np.float64)
    return [dict(zip(passages, np.round(vectors @ query, 6).tolist(), strict=True)) for query in queries]


@settings(max_examples=20, deadline=None)
@given(
    negatives=st.integers(1, 12),
    skip=st.integers(0, 6),
    more=st.integers(1, 90),
    relative=st.none() | st.floats(0, 0.02),
    absolute=st.none() | st.floats(0, 0.02),
    bounds=st.none() | st.tuples(st.floats(0.8, 0.9), st.floats(0.9, 1)),
    language=st.sampled_from(["any", "same", "other"]),
)
def test_negatives_are_those_of_brute_force(
    index: Index,
    similarities: list[dict[tuple[str, str | None], float]],
    negatives: int,
    skip: int,
    more: int,
    relative: float | None,
    absolute: float | None,
    bounds: tuple[float, float] | None,
    language: str,
) -> None:
    low, high = bounds or (None, None)
    options = MiningSettings(
        negatives=negatives,
        skip=skip,
        depth=skip + more,
        relative_margin=relative,
        absolute_margin=absolute,
        min_score=low,
        max_score=high,
        language=language,  # type: ignore[arg-type]
    )
    for example, of, mined in zip(EXAMPLES, similarities, mine(index, options, EXAMPLES), strict=True):
        positive = of[example.positives[0], example.language]
        ranked = sorted(
            (-score, text)
            for (text, code), score in of.items()
            if text not in (*example.positives, example.query)
            and {"any": True, "same": code == example.language, "other": code != example.language}[language]
        )[skip : skip + more]
        left = {}
        for score, text in ranked:
            near = relative is not None and -score > positive - relative * positive
            near |= absolute is not None and -score > positive - absolute
            if not near and (bounds is None or bounds[0] <= -score <= bounds[1]):
                left[text] = -score
        found = [
            of[text, code] for text, code in zip(mined.example.negatives, mined.example.languages[1:], strict=True)
        ]
        # Scores that differ only by rounding may change places, also at the limits.
        assert found == pytest.approx(list(left.values())[:negatives], abs=3e-6)
        assert mined.mined == len(found)
        assert mined.near + mined.outside + len(left) == len(ranked)
        assert relative is absolute is None or mined.positive_score == pytest.approx(positive, abs=3e-6)


def test_random_negatives_depend_on_the_seed_alone(index: Index) -> None:
    options = free(sampling="random", negatives=3, depth=20)
    one = mine(index, options, EXAMPLES)
    alone = mine_negatives(EXAMPLES, index, options, batch_size=1)
    assert [mined.example for mined in alone] == [mined.example for mined in one]
    backwards = mine(index, options, EXAMPLES[::-1])[::-1]
    assert [mined.example for mined in backwards] == [mined.example for mined in one]
    other = mine(index, changed(options, seed=1), EXAMPLES)
    assert [mined.example for mined in other] != [mined.example for mined in one]
    best = mine(index, changed(options, sampling="top", negatives=20), EXAMPLES)
    for drawn, ranked in zip(one, best, strict=True):
        places = [ranked.example.negatives.index(text) for text in drawn.example.negatives]
        assert places == sorted(places), "in the order of their ranks"


def test_repetitions_of_a_positive_or_the_query_are_not_negatives(tiny_encoder: Encoder, tmp_path: Path) -> None:
    example = RankingExample("the cat sat", ("seven dogs ran home",), language="en")
    with Index.create(tmp_path / "index", tiny_encoder) as index:
        index.add(["Seven dogs -- ran home!", "The cat, sat.", "fish in warm rain", "Fish in warm rain."])
        (mined,) = mine(index, FREE, [example])
    assert mined.positives == 2
    assert len(mined.example.negatives) == 1, "of two that are the same one is enough"
    assert normalised(mined.example.negatives[0]) == "fishinwarmrain"


SAME_QUERY = [
    RankingExample("the cat sat", ("seven dogs ran home",), language="en"),
    RankingExample("The cat sat?", ("fish in warm rain",), language="en"),
    RankingExample("where is water", ("green tea and rice",), language="en", query_id="q7"),
    RankingExample("water, where", ("cold milk at night", "the old house"), language="en", query_id="q7"),
    RankingExample("who sings", ("a bird in the tree",), language="en", query_id="q8"),
]


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("as_iterator", [False, True])
def test_positives_of_another_row_of_the_query_are_not_negatives(
    tiny_encoder: Encoder, batch_size: int, as_iterator: bool
) -> None:
    examples = iter(SAME_QUERY) if as_iterator else SAME_QUERY
    mined = list(mine_negatives(examples, tiny_encoder, FREE, batch_size=batch_size))
    every = {text for one in SAME_QUERY for text in one.positives}
    groups = [(0, 1), (0, 1), (2, 3), (2, 3), (4,)]
    answers = [{text for row in rows for text in SAME_QUERY[row].positives} for rows in groups]
    assert [set(one.example.negatives) for one in mined] == [every - some for some in answers]
    assert [one.positives for one in mined] == [len(some) for some in answers]


def test_positives_of_another_row_are_not_negatives_in_a_file(tiny_encoder: Encoder, tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", tiny_encoder) as index:
        index.add(["Fish in warm rain!", "SEVEN dogs, ran home", "green tea"])
        mine_to_file(iter(SAME_QUERY), index, tmp_path / "mined.jsonl", FREE, batch_size=2)
    mined = list(read_ranking(tmp_path / "mined.jsonl"))
    assert mined[0].negatives == mined[1].negatives == ("green tea",)
    assert len(mined[4].negatives) == 3


def test_kept_negatives_that_answer_the_query_elsewhere_are_dropped(tiny_encoder: Encoder, tmp_path: Path) -> None:
    first = replace(SAME_QUERY[0], negatives=("Fish, in warm rain", "a red hat", "seven dogs ran home!"))
    with Index.create(tmp_path / "index", tiny_encoder) as index:
        index.add(["green tea"])
        mined = mine(index, free(keep=True), [first, SAME_QUERY[1]])
    assert mined[0].example.negatives == ("a red hat", "green tea")


@pytest.mark.parametrize(
    ("one", "other"),
    [("दिन", "दान"), ("ผัก", "ผีก"), ("কাল", "কুল"), ("பல்", "பால்"), ("learn C++", "learn C#"), ("1.5 km", "15 km")],
)
def test_passages_that_differ_in_vowel_signs_or_signs_are_two(tiny_encoder: Encoder, one: str, other: str) -> None:
    examples = [RankingExample("query one", (one,)), RankingExample("query two", (other,))]
    mined = mine(tiny_encoder, FREE, examples)
    assert [found.example.negatives for found in mined] == [(other,), (one,)]


def test_ids_and_languages_of_passages_come_along(index: Index) -> None:
    example = EXAMPLES[0]
    (mined,) = mine(index, free(language="other", negatives=2), [example])
    assert mined.example.passage_ids is not None
    assert mined.example.passage_ids[0] == "p0"
    assert mined.example.passage_languages == ("en", "sw", "sw")
    (same,) = mine(index, free(language="same", negatives=2), [example])
    assert same.example.passage_languages is None
    by_text = {text: name for one in EXAMPLES for text, name in zip(one.passages, one.passage_ids or (), strict=True)}
    for text, name in zip(mined.example.negatives, mined.example.passage_ids[1:], strict=True):
        assert by_text[text] in (name, None)


def test_negatives_are_replaced_or_kept(index: Index) -> None:
    example = replace(EXAMPLES[3], scores=(2.0, 1.0))
    (replaced,) = mine(index, free(negatives=3), [example])
    assert len(replaced.example.negatives) == 3
    assert replaced.example.scores is None
    (kept,) = mine(index, free(negatives=3, keep=True), [example])
    assert kept.example.negatives[0] == example.negatives[0]
    assert len(set(kept.example.negatives)) == 4
    (nothing,) = mine(index, free(keep=True, where={"lang": "de"}), [example])
    assert nothing.example == example


@pytest.mark.parametrize("kind", ["single", "tokens"])
def test_scores_are_those_of_the_encoder(kind: str, tiny_encoder: Encoder, tiny_token_encoder: TokenEncoder) -> None:
    encoder = tiny_encoder if kind == "single" else tiny_token_encoder
    options = free(negatives=4, with_scores=True, depth=10)
    for mined in mine(encoder, options, EXAMPLES[:10]):
        example = mined.example
        query = encoder.encode_query([example.query])[0]
        expected = [similarity(query, passage) for passage in encoder.encode_document(example.passages)]
        # The tokens in an index are coded in few bits.
        assert example.scores == pytest.approx(expected, abs=1e-4 if kind == "single" else 0.05 * abs(expected[0]))
        assert mined.positive_score == example.scores[0]
        assert mined.negative_score == example.scores[1]


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_other_searches(index: Index, mode: str) -> None:
    options = MiningSettings(mode=mode, negatives=5)  # type: ignore[arg-type]
    for example, mined in zip(EXAMPLES, mine(index, options, EXAMPLES), strict=True):
        hits = index.search(example.query, 101, language=example.language, mode=mode)  # type: ignore[arg-type]
        texts = [hit.text for hit in hits if hit.text not in example.positives]
        if mode == "hybrid":
            allowed = {hit.text for hit in hits if hit.scores["dense"] <= 0.95 * mined.positive_score + 1e-9}
            texts = [text for text in texts if text in allowed]
        assert list(mined.example.negatives) == texts[:5]
        assert np.isnan(mined.positive_score) == (mode == "lexical")


def test_an_index_of_passages_has_each_once_per_language_and_is_resumed(tiny_encoder: Encoder, tmp_path: Path) -> None:
    both = [*EXAMPLES, replace(EXAMPLES[0], language="de"), EXAMPLES[0]]
    reported: list[int] = []
    with index_passages(tmp_path / "index", both, tiny_encoder, progress=reported.append) as index:
        assert len(index) == 2 * len(EXAMPLES) + 2
        assert reported[-1] == 2 * len(both)
    with index_passages(tmp_path / "index", both, tiny_encoder) as index:
        assert len(index) == 2 * len(EXAMPLES) + 2


def test_a_file_is_training_data_again_with_a_report(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "mined.jsonl.gz"
    options = free(negatives=6, relative_margin=0.05)
    report = mine_to_file(EXAMPLES, index, path, options)
    mined = mine(index, options, EXAMPLES)
    assert list(read_ranking(path)) == [one.example for one in mined]
    found = report.to_dict()
    assert found["queries"] == len(EXAMPLES)
    assert found["negatives"] == sum(one.mined for one in mined)
    assert found["queries_with_all"] == sum(one.mined == 6 for one in mined)
    assert found["queries_with_none"] == sum(one.mined == 0 for one in mined)
    assert found["dropped_near_positive"] == sum(one.near for one in mined)
    assert found["mean_positive_score"] == pytest.approx(np.mean([one.positive_score for one in mined]), abs=1e-6)


def test_report_of_no_queries_has_no_negatives() -> None:
    found = MiningReport(asked=3).to_dict()
    assert (found["queries"], found["negatives"], found["negatives_per_query"]) == (0, 0, 0.0)
    assert found["mean_positive_score"] is None


def test_settings_and_queries_that_do_not_do(index: Index, tiny_encoder: Encoder, tmp_path: Path) -> None:
    for options, message in (
        ({"negatives": 0}, "at least 1"),
        ({"skip": 5, "depth": 5}, "depth 5 leaves nothing after skip 5"),
        ({"sampling": "best"}, "no sampling 'best'; there are top, random"),
        ({"language": "foreign"}, "no language 'foreign'; there are any, same, other"),
        ({"mode": "sparse"}, "no mode 'sparse'"),
        ({"mode": "lexical", "absolute_margin": 0.1}, "no score to compare"),
        ({"mode": "lexical", "with_scores": True}, "no score to compare"),
        ({"keep": True, "with_scores": True}, "omit keep or with_scores"),
    ):
        with pytest.raises(InputError, match=message):
            MiningSettings(**options)  # type: ignore[arg-type]
    unknown = replace(EXAMPLES[0], language=None, origin="x.jsonl:3")
    with pytest.raises(InputError, match=r"x.jsonl:3: the language of the query"):
        mine(index, MiningSettings(language="other"), [unknown])
    with Index.create(tmp_path / "plain", tiny_encoder, settings=IndexSettings()) as plain:
        plain.add(["a cat"])
        with pytest.raises(InputError, match="no lexical channel"):
            mine(plain, MiningSettings(mode="lexical"), EXAMPLES)

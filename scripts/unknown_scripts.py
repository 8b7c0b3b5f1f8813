"""Measure what can be done about a script that the bundled encoder's vocabulary lacks, and about words in many tokens.

    python scripts/unknown_scripts.py run --data DIR [--runs runs/unknown-scripts] [--languages div,bod] [--ways ...]
    python scripts/unknown_scripts.py report --data DIR [--runs ...] [--output eval/results/ccp-adaptation]

What is done is fitted to the first four fifths of the documents of NTREX-128 in a language; the test is the last fifth,
without any training. Names of `bible_nt` are languages, too: there the gospel of Matthew is the text, that of John the
test, and the translations are Swahili. Each run writes one file, and a run whose file exists is skipped. `report` also
counts the sentences of all other languages that the new tokens split otherwise.
"""

from __future__ import annotations

import gzip
import itertools
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from ccp_adaptation import accuracy, read_ntrex
from tokenizers import Tokenizer

import mlret
from mlret.data.durable import write_text_atomically
from mlret.encoders.encoder import normalised
from mlret.encoders.light.light_encoder import batches
from mlret.encoders.loading import BUNDLED
from mlret.vocabulary.spelling import Spelling, spelled_tokenizer, unknown_scripts, with_replacements

_LAST_FIFTH = 0.8
_LONGEST = 512
_TABLE = "embeddings.word_embeddings.weight"
BIBLES = {"cherokee": "Cherokee-NT", "coptic": "Coptic-NT", "syriac": "Syriac-NT"}
PIVOT_BIBLE = "Swahili-NT"
WAYS = {
    "before": "the encoder as it is",
    "spelled": "the scripts that the vocabulary lacks are spelled in Latin letters before the tokenizer (mlret's way)",
    "marks": "letters that the vocabulary lacks in a script that it has are replaced by their base letter",
    "characters": "a token for each unknown letter, with the mean of the tokens of its spelling",
    "tokens": "tokens for groups of unknown letters, each with the mean of the tokens that its spelling is split into",
    "words": "a token for each frequent word that falls into three tokens or more, with their mean",
}
# Tokens of several letters that are added at most.
_MOST_TOKENS = 10_000
_SPACE = "▁"


class NewToken(NamedTuple):
    """A token that the vocabulary does not have: its characters, its score, and the ids that it is the mean of."""

    token: str
    score: float
    parts: tuple[int, ...]


app = typer.Typer(no_args_is_help=True)


@cache
def bundled_tokenizer() -> Tokenizer:
    """Return the tokenizer of the bundled encoder, without truncation."""
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@cache
def known_characters() -> frozenset[str]:
    """Return the characters of the vocabulary."""
    return frozenset(character for token in bundled_tokenizer().get_vocab() for character in token)


def texts_of(data: Path, language: str) -> tuple[list[str], list[str], list[str]]:
    """Return the text of a language, its test sentences, and their translations."""
    if language in BIBLES:
        own, other = (_verses(data / "bible_nt" / f"{name}.jsonl.gz") for name in (BIBLES[language], PIVOT_BIBLE))
        test = [verse for verse in own if verse.startswith("b.JOH.") and verse in other][:400]
        text = [sentence for verse, sentence in own.items() if verse.startswith("b.MAT.")]
        return text, [own[verse] for verse in test], [other[verse] for verse in test]
    texts, document = _ntrex(data)
    last = int((document.max() + 1) * _LAST_FIFTH)
    test_rows, text_rows = np.flatnonzero(document >= last), np.flatnonzero(document < last)
    own_lines = texts[language]
    return (
        [own_lines[row] for row in text_rows],
        [own_lines[row] for row in test_rows],
        [texts["eng"][row] for row in test_rows],
    )


@cache
def _ntrex(data: Path) -> tuple[dict[str, list[str]], Any]:
    return read_ntrex(data)


def _verses(path: Path) -> dict[str, str]:
    found = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            found.update(zip(document["verse_ids"], document["sents"], strict=True))
    return found


def normalised_texts(texts: Sequence[str]) -> list[str]:
    """Return texts as the tokenizer's normaliser has them."""
    normaliser: Any = bundled_tokenizer().normalizer
    return [normaliser.normalize_str(text) for text in texts]


def unknown_letters(texts: Sequence[str]) -> dict[str, str]:
    """Return the unknown characters of the scripts that the vocabulary lacks, with their spelling."""
    known, normal = known_characters(), normalised_texts(texts)
    scripts, spelling = unknown_scripts(normal, known), Spelling(known)
    found = {character for text in normal for character in text} - known
    mine = {one for one in found if unicodedata.name(one, "").partition(" ")[0] in scripts}
    return {one: spelling(one).replace(" ", _SPACE) for one in sorted(mine)}


def base_letters(texts: Sequence[str]) -> dict[str, str]:
    """Return the unknown letters of the scripts that the vocabulary has, with a known letter for each."""
    known, found = known_characters(), {}
    for character in {one for text in normalised_texts(texts) for one in text} - known:
        base = unicodedata.normalize("NFD", character)[0]
        name = unicodedata.name(character, "").partition(" WITH ")[0]
        try:
            plain = unicodedata.lookup(name)
        except KeyError:
            plain = base
        for one in (character.lower(), base, base.lower(), plain, plain.lower()):
            if unicodedata.category(character)[0] == "L" and one in known:
                found[character] = one
                break
    return found


def character_tokens(texts: Sequence[str]) -> list[NewToken]:
    """Return a token for each unknown letter of texts."""
    tokenizer = bundled_tokenizer()
    made = []
    for character, spelled in (unknown_letters(texts) or base_letters(texts)).items():
        parts = tuple(tokenizer.token_to_id(letter) for letter in spelled)
        if parts:
            made.append(NewToken(character, float(np.mean([_scores()[part] for part in parts])), parts))
    return made


def group_tokens(texts: Sequence[str]) -> list[NewToken]:
    """Return tokens for groups of unknown letters: what the tokens of the spelling of each word map back to.

    Each contains an unknown letter, and a word is split as its spelling would be if all its groups are in the texts.
    """
    tokenizer: Any = bundled_tokenizer()
    spelled = unknown_letters(texts)
    counts: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for word, count in _words(texts).items():
        if not spelled.keys().isdisjoint(word):
            for group in _groups(word, spelled, tokenizer.model):
                counts[group] += count
    made: dict[str, tuple[int, ...]] = {}
    for (token, parts), _ in counts.most_common():
        if len(made) < _MOST_TOKENS and not spelled.keys().isdisjoint(token):
            made.setdefault(token, parts)
    for character, letters in spelled.items():
        if letters:
            made.setdefault(character, tuple(one.id for one in tokenizer.model.tokenize(letters)))
    # A lower score than any would lower that of unknown characters, and so change how other texts are split.
    lowest = min(_scores())
    return [NewToken(one, max(lowest, sum(_scores()[part] for part in parts)), parts) for one, parts in made.items()]


def _groups(word: str, spelled: dict[str, str], model: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the parts of a word that end where both a letter and a token of its spelling end."""
    letters = [spelled.get(one, one) for one in word]
    tokens = model.tokenize("".join(letters))
    token_ends = list(itertools.accumulate(len(one.value) for one in tokens))
    ends = list(itertools.accumulate(map(len, letters)))
    start = first = 0
    for place, end in enumerate(ends):
        silent = place + 1 < len(ends) and ends[place + 1] == end
        if end in token_ends and not silent:
            last = token_ends.index(end) + 1
            if last > first:
                yield word[start : place + 1], tuple(one.id for one in tokens[first:last])
            start, first = place + 1, last


def _words(texts: Sequence[str]) -> Counter[str]:
    splitter: Any = bundled_tokenizer().pre_tokenizer
    return Counter(word for text in normalised_texts(texts) for word, _ in splitter.pre_tokenize_str(text))


def word_tokens(texts: Sequence[str], *, least: int = 5, most: int = 2000) -> list[NewToken]:
    """Return a token for each frequent word that falls into three tokens or more."""
    tokenizer: Any = bundled_tokenizer()
    counts = _words(texts)
    total = counts.total()
    made: list[NewToken] = []
    for word, count in counts.most_common():
        parts = [token.id for token in tokenizer.model.tokenize(word)]
        if count < least or len(made) == most:
            break
        if len(parts) >= 3 and word.removeprefix("▁").isalpha():
            made.append(NewToken(word, float(np.log(count / total)), tuple(parts)))
    return made


@cache
def _scores() -> list[float]:
    return [score for _, score in json.loads(bundled_tokenizer().to_str())["model"]["vocab"]]


MAKERS: dict[str, Callable[[Sequence[str]], list[NewToken]]] = {
    "characters": character_tokens,
    "tokens": group_tokens,
    "words": word_tokens,
}


def with_tokens(tokenizer: Tokenizer, added: Sequence[NewToken]) -> Tokenizer:
    """Return a tokenizer with more tokens, which get the ids after those that it has."""
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"] += [[one.token, one.score] for one in added]
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def encode(
    encoder: Any, texts: Sequence[str], tokenizer: Tokenizer, added: Sequence[NewToken] = ()
) -> tuple[Any, dict[str, float]]:
    """Return unit vectors of texts by the light runtime, and how many tokens they have and how many are unknown."""
    network = encoder.network
    if added:
        means = [network._weights.rows(_TABLE, np.array(one.parts)).mean(axis=0) for one in added]
        network = network.with_extra(np.array(means, dtype=np.float32))
    ids = [
        one.ids[: _LONGEST - 1] + one.ids[-1:] if len(one.ids) > _LONGEST else one.ids
        for one in _split(tokenizer, texts)
    ]
    vectors = np.empty((len(texts), network.dims), dtype=np.float32)
    for rows, tokens in batches(ids):
        vectors[rows] = network(tokens).mean(axis=1)
    flat = np.concatenate([np.array(one[1:-1]) for one in ids])
    unknown = bundled_tokenizer().token_to_id("<unk>")
    return normalised(vectors), {"unknown": float((flat == unknown).mean() * 100), "tokens": len(flat) / len(texts)}


def _split(tokenizer: Tokenizer, texts: Sequence[str]) -> Any:
    return tokenizer.encode_batch(list(texts))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command()
def run(
    data: Annotated[Path, typer.Option(help="The folder with ntrex128 and bible_nt.")],
    runs: Annotated[Path, typer.Option()] = Path("runs/unknown-scripts"),
    languages: Annotated[str, typer.Option()] = "div,bod,dzo,cherokee,coptic,syriac,ven,tgk-Cyrl,ton,tuk",
    ways: Annotated[str, typer.Option()] = "before,spelled,marks,characters,tokens,words",
) -> None:
    """Measure each way in each language, if it has not been measured."""
    runs.mkdir(parents=True, exist_ok=True)
    encoder: Any = mlret.load_encoder(device="cpu")
    translations: dict[str, Any] = {}
    for language in _names(languages):
        text, test, other = texts_of(data, language)
        key = language if language in BIBLES else "ntrex"
        for way in _names(ways):
            path = runs / f"{language}.{way}.json"
            if path.is_file():
                continue
            if key not in translations:
                translations[key] = encode(encoder, other, bundled_tokenizer())[0]
            added = MAKERS[way](text) if way in MAKERS else []
            tokenizer = with_tokens(bundled_tokenizer(), added)
            if way == "spelled":
                tokenizer = spelled_tokenizer(bundled_tokenizer(), text)[0] or tokenizer
            if way == "marks":
                tokenizer = with_replacements(bundled_tokenizer(), base_letters(text + test))
            vectors, figures = encode(encoder, test, tokenizer, added)
            found = {"language": language, "way": way, "added": len(added), "sentences": len(test)} | figures
            found["accuracy"] = list(accuracy(vectors, translations[key]))
            write_text_atomically(path, json.dumps(found, indent=1))
            print(f"{language:9s} {way:11s} {np.mean(found['accuracy']):.1f}  {figures}", flush=True)


@app.command()
def report(
    data: Annotated[Path, typer.Option()],
    runs: Annotated[Path, typer.Option()] = Path("runs/unknown-scripts"),
    output: Annotated[Path, typer.Option()] = Path("eval/results/ccp-adaptation"),
) -> None:
    """Write the tables: accuracies of all runs, how each language is tokenised, what new tokens do to others."""
    found = {(one["language"], one["way"]): one for one in map(_read, sorted(runs.glob("*.json")))}
    ways = [way for way in WAYS if any(key[1] == way for key in found)]
    lines = [
        "# Scripts that the vocabulary lacks",
        "",
        "Bitext accuracy in per cent, mean of both directions, without any training.",
        "",
    ]
    lines += [f"- *{way}*: {WAYS[way]}" for way in ways]
    changed = [language for language in dict.fromkeys(one for one, _ in found) if (language, "before") in found]
    changed = [one for one in changed if any((one, way) in found for way in ways[1:])]
    lines += ["", f"| language | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
    for language in changed:
        cells = [f"{np.mean(found[language, way]['accuracy']):.1f}" if (language, way) in found else "" for way in ways]
        lines.append(f"| {language} | {' | '.join(cells)} |")
    lines += ["", *_others(data)]
    lines += ["", "## Tokens by language, before", "", *_tokenisation(data, found)]
    output.mkdir(parents=True, exist_ok=True)
    write_text_atomically(output / "spelling.md", "\n".join(lines) + "\n")


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _others(data: Path) -> list[str]:
    """Return how many sentences of the other languages are split otherwise if three languages are spelled."""
    texts, _ = _ntrex(data)
    own = ("div", "bod", "dzo")
    spelled, _ = spelled_tokenizer(bundled_tokenizer(), [text for language in own for text in texts[language]])
    assert spelled is not None
    others = [text for language in texts if language not in own for text in texts_of(data, language)[1]]
    pairs = zip(_split(bundled_tokenizer(), others), _split(spelled, others), strict=True)
    different = sum(one.ids != other.ids for one, other in pairs)
    return [
        f"With Divehi, Tibetan and Dzongkha spelled, {different} of {len(others):,} sentences of the other "
        f"{len(texts) - len(own)} languages are split otherwise."
    ]


def _tokenisation(data: Path, found: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    lines = ["| language | unknown % | tokens a word | single letters % | accuracy |", "|---" * 5 + "|"]
    tokenizer = bundled_tokenizer()
    single = {number for token, number in tokenizer.get_vocab().items() if len(token.replace("▁", "")) == 1}
    letters = {number for number in single if (tokenizer.id_to_token(number) or "").replace("▁", "").isalpha()}
    rows = []
    for language in _ntrex(data)[0]:
        _, test, _ = texts_of(data, language)
        ids = np.concatenate([one.ids[1:-1] for one in _split(tokenizer, test)])
        unknown = (ids == tokenizer.token_to_id("<unk>")).mean() * 100
        words = len(ids) / sum(len(text.split()) for text in test)
        before = found.get((language, "before"))
        cell = f"{np.mean(before['accuracy']):.1f}" if before else ""
        rows.append((-unknown, language, words, np.isin(ids, list(letters)).mean() * 100, cell))
    return lines + [
        f"| {name} | {-own:.2f} | {words:.2f} | {one:.1f} | {cell} |" for own, name, words, one, cell in sorted(rows)
    ]


if __name__ == "__main__":
    app()

"""Cut a tokenizer to some of its tokens and renumber every token id in it.

This edits the contents of ``tokenizer.json`` (the format of the ``tokenizers`` library), so that every normaliser,
pre-tokenizer and decoder stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mlret.errors import InputError, MlretError
from mlret.vocabulary.merges import Merges

Ids = NDArray[np.int64]
_SPACE = "▁"
_BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))


class TokenizerState:
    """The parsed state of a tokenizer, from which a smaller tokenizer can be made.

    Parameters
    ----------
    tokenizer
        A tokenizer of the ``tokenizers`` library: Unigram, BPE, WordPiece or WordLevel. It is not changed.

    Raises
    ------
    InputError
        If the tokenizer's model is of another kind.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.state: dict[str, Any] = json.loads(tokenizer.to_str())
        self.model: dict[str, Any] = self.state["model"]
        kind = self.model.get("type")
        if kind not in ("Unigram", "BPE", "WordPiece", "WordLevel"):
            raise InputError(f"the tokenizer is of kind {kind}; mlret trims Unigram, BPE, WordPiece and WordLevel")
        self.kind: str = kind

    @cached_property
    def tokens(self) -> list[str | None]:
        """Tokens in the order of their ids; ``None`` for an id without a token."""
        named = self._named()
        found: list[str | None] = [None] * (max((position for position, _ in named), default=-1) + 1)
        for position, token in named:
            if found[position] not in (None, token):
                raise InputError(
                    f"the tokenizer gives {found[position]!r} and {token!r} the same id, {position:,}: give one of "
                    "them another before trimming"
                )
            found[position] = token
        return found

    def _named(self) -> list[tuple[int, str]]:
        if self.kind == "Unigram":
            in_model = [(position, piece) for position, (piece, _) in enumerate(self.model["vocab"])]
        else:
            in_model = [(position, token) for token, position in self.model["vocab"].items()]
        return in_model + [(added["id"], added["content"]) for added in self.state["added_tokens"]]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Mapping from token to id."""
        return {token: position for position, token in enumerate(self.tokens) if token is not None}

    @cached_property
    def byte_level(self) -> bool:
        """Whether tokens are written in the 256 characters that represent bytes (GPT-2's alphabet)."""
        return any(
            part.get("type") == "ByteLevel"
            for name in ("pre_tokenizer", "decoder", "normalizer")
            for part in components(self.state.get(name))
        )

    def surface(self, token: str) -> str:
        """Return the text that a token represents, without marks of word starts, continuations and ends.

        For byte-level tokens that are not valid UTF-8 on their own, this is an empty string.
        """
        if self.byte_level:
            try:
                token = bytes(_BYTE_OF[letter] for letter in token).decode("utf-8")
            except (KeyError, UnicodeDecodeError):
                return ""
        token = token.removeprefix(self._continuing).removesuffix(self.model.get("end_of_word_suffix") or "")
        return token.replace(_SPACE, " ").strip(" ")

    @cached_property
    def indispensable(self) -> set[int]:
        """Ids of tokens without which the tokenizer would behave differently.

        These are added tokens, the unknown token, all tokens inserted by the post-processor and by padding, the mark of
        a word's start, byte tokens and the byte-level alphabet. For Unigram, they include the token with the lowest
        score, from which the score of unknown characters is derived.
        """
        found = {added["id"] for added in self.state["added_tokens"]}
        found |= {position for position in self._inserted() if position < len(self.tokens)}
        found |= {self.ids[token] for token in (_BYTE_TOKENS | {_SPACE}) & self.ids.keys()}
        if self.byte_level:
            found |= {self.ids[letter] for letter in _BYTE_OF.keys() & self.ids.keys()}
        if self.kind == "Unigram":
            if self.model.get("unk_id") is not None:
                found.add(self.model["unk_id"])
            if self.model["vocab"]:
                scores = np.array([score for _, score in self.model["vocab"]])
                found.add(int(scores.argmin()))
        elif (unknown := self.model.get("unk_token")) in self.ids:
            found.add(self.ids[unknown])
        return found

    def _inserted(self) -> set[int]:
        found: set[int] = set()
        for part in components(self.state.get("post_processor")):
            for special in (part.get("special_tokens") or {}).values():
                found.update(special["ids"])
            found.update(part[name][1] for name in ("sep", "cls") if name in part)
        if self.state.get("padding"):
            found.add(self.state["padding"]["pad_id"])
        return found

    def needs(self, position: int) -> tuple[int, ...]:
        """Return the ids of the tokens that must be kept with a token so that texts are tokenised into it as before.

        For BPE these are the intermediate tokens of its merges. For Unigram and WordPiece they are its single
        characters: if one is missing, Unigram considers an unknown character, and WordPiece treats the whole word as
        unknown. WordLevel needs none.
        """
        token = self.tokens[position]
        if token is None:
            return ()
        if self.kind == "BPE":
            return tuple(self.ids[part] for part in self._merges.parts(token))
        if self.kind == "WordLevel" or position in self.indispensable:
            return ()
        letters = set(token if self.kind == "Unigram" else self.surface(token))
        forms = letters if self.kind == "Unigram" else letters | {self._continuing + letter for letter in letters}
        return tuple(self.ids[form] for form in forms & self.ids.keys())

    @cached_property
    def _continuing(self) -> str:
        return self.model.get("continuing_subword_prefix") or ""

    @cached_property
    def _merges(self) -> Merges:
        return Merges(self.model)

    def closed(self, kept: set[int]) -> set[int]:
        """Return the ids, the indispensable ids and all ids that these need, without ids that have no token."""
        closed = {
            position
            for position in kept | self.indispensable
            if 0 <= position < len(self.tokens) and self.tokens[position] is not None
        }
        waiting = list(closed)
        while waiting:
            new = set(self.needs(waiting.pop())) - closed
            closed |= new
            waiting += new
        return closed

    def cut(self, kept: Ids) -> Tokenizer:
        """Build a tokenizer that has only the kept tokens.

        Parameters
        ----------
        kept
            ``(n,)`` ids, ascending and without duplicates. The token ``kept[i]`` gets the id ``i``.

        Returns
        -------
        tokenizers.Tokenizer
            A tokenizer that tokenises a text whose tokens are all kept as before, if the ids are :meth:`closed`.

        Raises
        ------
        MlretError
            If the new tokenizer cannot be built or does not have the kept tokens at these ids.
        """
        new_id = {int(old): new for new, old in enumerate(kept)}
        state = {**self.state, "model": self._cut_model(new_id)}
        state["added_tokens"] = [{**added, "id": new_id[added["id"]]} for added in self.state["added_tokens"]]
        state["post_processor"] = _renumbered(self.state.get("post_processor"), new_id)
        if self.state.get("padding"):
            padding = self.state["padding"]
            state["padding"] = {**padding, "pad_id": new_id.get(padding["pad_id"], padding["pad_id"])}
        try:
            cut = Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
        except Exception as error:  # The library raises no narrower exception.
            raise MlretError(f"the trimmed tokenizer cannot be built: {error}") from error
        expected = {self.tokens[old]: new for old, new in new_id.items()}
        if cut.get_vocab(with_added_tokens=True) != expected:
            raise MlretError("the tokenizers library gave the trimmed vocabulary other ids than expected")
        return cut

    def _cut_model(self, new_id: Mapping[int, int]) -> dict[str, Any]:
        model = dict(self.model)
        if self.kind == "Unigram":
            model["vocab"] = [entry for position, entry in enumerate(self.model["vocab"]) if position in new_id]
            if model.get("unk_id") is not None:
                model["unk_id"] = new_id[model["unk_id"]]
            return model
        model["vocab"] = {token: new_id[old] for token, old in self.model["vocab"].items() if old in new_id}
        # The library numbers added tokens from the size of the model's vocabulary. If that had gaps, added tokens may
        # have lower ids than tokens of the model; adding them to its vocabulary preserves their ids.
        added = {entry["content"]: new_id[entry["id"]] for entry in self.state["added_tokens"]}
        if min((new for token, new in added.items() if token not in model["vocab"]), default=len(new_id)) < len(
            model["vocab"]
        ):
            model["vocab"] |= added
        if self.kind == "BPE":
            model["merges"] = [list(pair) for pair in self._merges.among(set(model["vocab"]))]
        return model


def components(component: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return a component as a list, with nested sequences flattened; an empty list for ``None``."""
    if component is None:
        return []
    for name in ("processors", "pretokenizers", "normalizers", "decoders"):
        if component.get("type") == "Sequence" and name in component:
            return [part for inner in component[name] for part in components(inner)]
    return [component]


def _renumbered(processor: dict[str, Any] | None, new_id: Mapping[int, int]) -> dict[str, Any] | None:
    if processor is None:
        return None
    renumbered = dict(processor)
    if "processors" in processor:
        renumbered["processors"] = [_renumbered(inner, new_id) for inner in processor["processors"]]
    if processor.get("special_tokens"):
        renumbered["special_tokens"] = {
            name: {**special, "ids": [new_id[old] for old in special["ids"]]}
            for name, special in processor["special_tokens"].items()
        }
    for name in ("sep", "cls"):
        if name in processor:
            token, old = processor[name]
            renumbered[name] = [token, new_id[old]]
    return renumbered


def _byte_letters() -> dict[str, int]:
    """Map each character of the byte-level alphabet to its byte: printable bytes as themselves, others from 256."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_letters()

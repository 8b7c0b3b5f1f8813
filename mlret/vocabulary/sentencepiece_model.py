"""Cut a SentencePiece ``.model``, which slow tokenizers read, to the tokens that the fast tokenizer keeps.

Tokens are called pieces here, as in SentencePiece.
"""

from __future__ import annotations

from collections.abc import Collection

from mlret.errors import InputError, require

_NORMAL, _UNUSED = 1, 5


def cut_sentencepiece(content: bytes, kept: Collection[str], name: str = "the SentencePiece model") -> bytes:
    """Drop the normal and unused pieces that are not kept; control, unknown, user-defined and byte pieces stay.

    Parameters
    ----------
    content
        A serialised ``ModelProto``.
    kept
        The pieces to keep.
    name
        Name of the model in error messages.

    Returns
    -------
    bytes
        The serialised model with the remaining pieces in their original order, so that slow tokenizers, which number
        pieces by position, assign the same ids as the fast one. Self-test data is dropped, because it may name removed
        pieces.

    Raises
    ------
    InputError
        If ``content`` is not a SentencePiece model or has no pieces.
    MissingExtraError
        If sentencepiece or protobuf is not installed.
    """
    protobuf = require("google.protobuf.message", extra="trim", feature="a SentencePiece model")
    proto_module = require("sentencepiece.sentencepiece_model_pb2", extra="trim", feature="a SentencePiece model")
    proto = proto_module.ModelProto()
    try:
        proto.ParseFromString(content)
    except protobuf.DecodeError as error:
        raise InputError(f"{name} is not a SentencePiece model") from error
    wanted = set(kept)
    pieces = [piece for piece in proto.pieces if piece.type not in (_NORMAL, _UNUSED) or piece.piece in wanted]
    if not pieces:
        raise InputError(f"{name} is not a SentencePiece model: it has no tokens")
    del proto.pieces[:]
    proto.pieces.extend(pieces)
    proto.trainer_spec.vocab_size = len(pieces)
    place = {piece.piece: position for position, piece in enumerate(pieces)}
    for role in ("unk", "bos", "eos", "pad"):
        if getattr(proto.trainer_spec, f"{role}_id") >= 0:
            setattr(proto.trainer_spec, f"{role}_id", place.get(getattr(proto.trainer_spec, f"{role}_piece"), -1))
    # This drops the self-test data, a field that this version of the message definition does not know.
    proto.DiscardUnknownFields()
    return bytes(proto.SerializeToString())

"""Cut a SentencePiece ``.model``, which slow tokenizers read, to the pieces that the fast tokenizer keeps."""

from __future__ import annotations

from collections.abc import Collection

from mlret.errors import InputError, require

_NORMAL, _UNUSED = 1, 5


def cut_sentencepiece(content: bytes, kept: Collection[str], name: str = "the SentencePiece model") -> bytes:
    """Drop the normal pieces that are not kept; what controls, is unknown, user-defined or a byte stays.

    Parameters
    ----------
    content
        A serialised ``ModelProto``.
    kept
        The pieces to keep.
    name
        What to call it in messages.

    Returns
    -------
    bytes
        The same model with fewer pieces, in their order, so that slow tokenizers, which count them, come to the same
        ids as the fast one. Its self-test data, which may name pieces that are gone, is dropped.

    Raises
    ------
    InputError
        If it is no SentencePiece model.
    MissingExtraError
        If sentencepiece or protobuf is not installed.
    """
    protobuf = require("google.protobuf.message", extra="trim", feature="a SentencePiece model")
    proto_module = require("sentencepiece.sentencepiece_model_pb2", extra="trim", feature="a SentencePiece model")
    proto = proto_module.ModelProto()
    try:
        proto.ParseFromString(content)
    except protobuf.DecodeError as error:
        raise InputError(f"{name} is no SentencePiece model") from error
    wanted = set(kept)
    pieces = [piece for piece in proto.pieces if piece.type not in (_NORMAL, _UNUSED) or piece.piece in wanted]
    if not pieces:
        raise InputError(f"{name} is no SentencePiece model: it has no pieces")
    del proto.pieces[:]
    proto.pieces.extend(pieces)
    proto.trainer_spec.vocab_size = len(pieces)
    place = {piece.piece: position for position, piece in enumerate(pieces)}
    for role in ("unk", "bos", "eos", "pad"):
        if getattr(proto.trainer_spec, f"{role}_id") >= 0:
            setattr(proto.trainer_spec, f"{role}_id", place.get(getattr(proto.trainer_spec, f"{role}_piece"), -1))
    # The self-test data, where there is any: this reader of the format does not know the field.
    proto.DiscardUnknownFields()
    return bytes(proto.SerializeToString())

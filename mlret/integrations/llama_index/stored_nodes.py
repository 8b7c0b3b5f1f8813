"""Nodes of LlamaIndex as documents of an index, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, Document, ImageDocument, ImageNode, IndexNode, Node, TextNode

from mlret.data.documents import Document as StoredDocument
from mlret.errors import InputError
from mlret.integrations.stored_metadata import from_stored, language_in, to_stored

# Names that stored_name gives to no metadata of a node.
SOURCE = "~ref_doc_id"
_NODE = "~node"
# A document of an index has a text that is not blank. This one, a zero-width space, has no words.
_NO_TEXT = "\u200b"
_CLASSES: dict[str, type[BaseNode]] = {
    one.class_name(): one for one in (TextNode, Node, ImageNode, IndexNode, Document, ImageDocument)
}


def to_document(node: BaseNode) -> StoredDocument:
    """Return a node as a document of an index.

    Parameters
    ----------
    node
        The node; its embedding is not part of the document. Its metadata become those of the document, under the names
        of :func:`mlret.integrations.stored_metadata.stored_name`, so that filters find them. The rest of it, such as
        relationships and templates, is kept beside them. A node of a class that LlamaIndex does not have is kept as one
        of the nearest class that it has. All values are those that LlamaIndex writes as JSON: NaN becomes ``None``, a
        date a string, and the bytes of a media resource are left out.

    Raises
    ------
    InputError
        If the node holds something that is no JSON value, or its id is blank.
    """
    try:
        # Embeddings are the vectors of the index, and the values that a class fills in by itself need no room.
        data = node.model_dump(mode="json", exclude={"embedding"}, exclude_defaults=True)
    except ValueError as error:
        raise InputError(f"the node {node.node_id!r} cannot be written as JSON: {error}") from error
    text = _take_text(data)
    known = next(one for one in type(node).__mro__ if one in _CLASSES.values())
    data["class_name"] = known.class_name()  # type: ignore[attr-defined]
    del data["id_"]
    metadata = data.pop("metadata", {})
    stored = to_stored(metadata) | {
        # Without a source, the name is there with an empty string, so that filters on it name something that exists.
        SOURCE: node.ref_doc_id or "",
        # The table of fields leaves out a list within a list, so that no filter need search what is in it.
        _NODE: [[data]],
    }
    return StoredDocument(node.node_id, text, language_in(metadata), stored)


def to_node(id: str, text: str, metadata: Mapping[str, Any]) -> BaseNode:
    """Return the node that a document of an index was made of.

    Parameters
    ----------
    id, text, metadata
        The fields of the document. A document that was not stored through LlamaIndex becomes a ``TextNode``.
    """
    rest = {name: value for name, value in metadata.items() if name not in (_NODE, SOURCE)}
    if _NODE not in metadata:
        return TextNode(id_=id, text=text, metadata=from_stored(rest))
    [[stored]] = metadata[_NODE]
    data = _with_text(stored, text)
    return _CLASSES[data["class_name"]].from_dict(data, id_=id, metadata=from_stored(rest))


def _take_text(data: dict[str, Any]) -> str:
    """Remove the text from a node's JSON and return it; a text that no document can have stays there."""
    holder = data
    if isinstance(resource := data.get("text_resource"), dict):
        data.pop("text", None)  # LlamaIndex's Document has it twice.
        holder = resource
    text = holder.get("text")
    if not isinstance(text, str) or not text.strip() or text == _NO_TEXT:
        return _NO_TEXT
    del holder["text"]
    return text


def _with_text(data: Mapping[str, Any], text: str) -> dict[str, Any]:
    if text == _NO_TEXT:
        return dict(data)
    if isinstance(resource := data.get("text_resource"), dict):
        return {**data, "text_resource": {**resource, "text": text}}
    return {**data, "text": text}

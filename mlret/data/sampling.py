"""Draw sentences at random from a stream, in bounded memory."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable


def draw_by_language(sentences: Iterable[tuple[str, str]], *, most: int, seed: int) -> dict[str, list[str]]:
    """At most ``most`` different sentences of each language, drawn uniformly from the different ones.

    Every sentence has a random rank that depends on itself and the seed alone; the lowest ranks are kept. The draw
    is therefore the same in whatever order the sentences come, and however often each comes.

    Parameters
    ----------
    sentences
        Language and sentence; read once.
    most
        Sentences of a language.
    seed
        Of the ranks.

    Returns
    -------
    dict
        Language, sorted -> sentences, by rank.
    """
    key = seed.to_bytes(8, "little", signed=True)
    heaps: dict[str, list[tuple[int, str]]] = defaultdict(list)
    kept: dict[str, set[str]] = defaultdict(set)
    for language, sentence in sentences:
        heap = heaps[language]
        digest = hashlib.blake2b(sentence.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
        # Python's heaps have the smallest on top; here the largest rank is the first to go.
        entry = (-int.from_bytes(digest), sentence)
        if sentence in kept[language] or (len(heap) == most and entry < heap[0]):
            continue
        kept[language].add(sentence)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        else:
            kept[language].remove(heapq.heappushpop(heap, entry)[1])
    return {language: [text for _, text in sorted(heap, reverse=True)] for language, heap in sorted(heaps.items())}

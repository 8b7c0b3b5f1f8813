"""Draw sentences at random from a stream, in bounded memory."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable


def draw_by_language(sentences: Iterable[tuple[str, str]], *, most: int, seed: int) -> dict[str, list[str]]:
    """Draw at most ``most`` distinct sentences of each language, uniformly at random.

    Every sentence has a pseudo-random rank that depends only on the sentence and the seed; the lowest ranks are kept.
    The result is therefore independent of the order and the number of occurrences of the sentences.

    Parameters
    ----------
    sentences
        Pairs of language and sentence; iterated once.
    most
        Maximum number of sentences per language.
    seed
        Random seed of the ranks.

    Returns
    -------
    dict
        Language -> sentences, sorted by rank; the languages are sorted.
    """
    key = seed.to_bytes(8, "little", signed=True)
    heaps: dict[str, list[tuple[int, str]]] = defaultdict(list)
    kept: dict[str, set[str]] = defaultdict(set)
    for language, sentence in sentences:
        heap = heaps[language]
        digest = hashlib.blake2b(sentence.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
        # Ranks are negated because Python's heaps have the smallest item on top, and the largest rank is removed first.
        entry = (-int.from_bytes(digest), sentence)
        if sentence in kept[language] or (len(heap) == most and entry < heap[0]):
            continue
        kept[language].add(sentence)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        else:
            kept[language].remove(heapq.heappushpop(heap, entry)[1])
    return {language: [text for _, text in sorted(heap, reverse=True)] for language, heap in sorted(heaps.items())}

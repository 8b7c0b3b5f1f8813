"""Give an agent a memory that belongs to its users, keeps its history and can be erased.

The script plays a short conversation. Before each answer an agent would search the memory of the user it talks to and
put the result into its prompt; afterwards it stores what it has learned.

Run it with ``python examples/agent_memory.py``; it needs no network and no language model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from mlret import Memory, load_encoder

ANNA, BEN = {"user": "anna", "agent": "assistant"}, {"user": "ben", "agent": "assistant"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Memory.open(Path(folder) / "memories", load_encoder()) as memory:
        # Every record belongs to a scope. Texts are kept word for word, in the language in which they were said.
        diet = memory.add("Je suis allergique aux arachides.", ANNA, language="fr", tags=["health"])
        memory.add("Anna travels to Lisbon in May.", ANNA, language="en", tags=["travel"])
        memory.add("Ben mag Erdnussbutter sehr gern.", BEN, language="de", tags=["food"])

        # The agent plans a dinner for Anna. Ben's record is outside the scope: it cannot be found, whatever is asked.
        found = memory.search("Which food must I avoid when I cook?", ANNA, k=1)
        print(f"found: {found[0].text}")
        print(f"why:   {'; '.join(found[0].why)}")
        print(f"Ben's record is visible to Anna: {any('Ben' in hit.text for hit in memory.search('peanuts', ANNA))}")

        # Hits are fitted into what the prompt has room for, counted in tokens of the encoder.
        print(f"for the prompt: {memory.context(found, budget=64).text}")

        # A correction makes a new version. The old one stays in the history, and the operation can be taken back.
        change = memory.update(diet.id, ANNA, "Je suis allergique aux arachides et au lait.")
        print(f"versions: {len(memory.versions(diet.id, ANNA))}")
        memory.undo(change.operation, ANNA)
        record = memory.get(diet.id, ANNA)
        assert record is not None
        print(f"after undo: {record.text}")

        # Anna asks to be forgotten: the text is overwritten on disk, and every file is read again as a proof.
        proof = memory.erase(memory.ids(ANNA), ANNA)
        print(f"erased {len(proof.ids)} records, complete: {proof.complete}")
        print(f"records that are left: {len(memory)}")


if __name__ == "__main__":
    main()

"""The asynchronous client against the real server: the same verbs, many at a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable

import pytest

from mlret import AsyncClient, InputError, NotFound
from mlret.client import async_client, client
from mlret.client.client import ClientIndex
from mlret.index.hits import Updated
from tests.serve.running import Running


def test_documents_are_added_from_any_iterable_and_found(
    server: Running, address: str, made: Callable[[], ClientIndex]
) -> None:
    name = made().name

    async def texts() -> AsyncIterator[dict[str, str]]:
        for number in range(10):
            await asyncio.sleep(0)
            yield {"id": str(number), "text": f"Story number {number} of a long evening."}

    async def work() -> None:
        async with AsyncClient(address, server.token) as far:
            index = far.index(name)
            assert [done async for done in index.add_batches(texts(), batch_size=6)] == [
                Updated(added=6),
                Updated(added=4),
            ]
            assert await index.add([{"id": "train", "text": "Der Zug hat Verspätung."}]) == 1
            assert await index.update([{"id": "train", "text": "Der Zug kommt später."}]) == Updated(replaced=1)
            found = await asyncio.gather(*(index.search("the train is late", k=2) for _ in range(50)))
            assert {hits[0].id for hits in found} == {"train"}
            assert [one.id async for one in index.documents()] == [*map(str, range(10)), "train"]
            assert await index.count() == 11
            assert await index.get("none") is None
            with pytest.raises(NotFound):
                await index.delete(["none"])
            with pytest.raises(InputError, match="list of documents"):
                await index.add("a text")

    asyncio.run(work())


def test_a_memory_is_used_by_many_tasks(server: Running, address: str, scope: dict[str, str]) -> None:
    async def work() -> None:
        async with AsyncClient(address, server.token) as far:
            memory = far.memory(scope)
            facts = [f"Fact {number} is about the number {number * number}." for number in range(8)]
            added = await asyncio.gather(*(memory.add(text, dedupe=False) for text in facts))
            more = [one async for one in memory.add_stream(["The cat is called Simba."], batch_size=3)]
            assert {one.id for one in await memory.list()} == {one.id for one in [*added, *more]}
            assert (await memory.search("What is the cat's name?", k=1))[0].text == "The cat is called Simba."
            assert (await memory.erase([one.id for one in added])).complete

    asyncio.run(work())


@pytest.mark.parametrize("name", ["Client", "ClientIndex", "ClientMemory"])
def test_both_clients_have_the_same_methods_with_the_same_parameters(name: str) -> None:
    one, other = getattr(client, name), getattr(async_client, f"Async{name}")
    for method, function in inspect.getmembers(one, inspect.isfunction):
        if method.startswith("__") and method != "__init__":
            continue
        assert list(inspect.signature(getattr(other, method)).parameters) == list(
            inspect.signature(function).parameters
        ), method

"""Turns are never lost and never given twice, and each token gets its share."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mlret.serve.limits.turns import Turns

# Who asks for a turn, how many steps it keeps it, and after how many steps it gives up waiting.
REQUESTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 8)), max_size=40)


@given(st.integers(1, 6), REQUESTS)
def test_no_turn_is_lost_or_given_twice(number: int, requests: list[tuple[str, int, int]]) -> None:
    most = number - number // 4

    async def main() -> None:
        turns, at_work = Turns(number), Counter[str]()

        async def ask(token: str, steps: int) -> None:
            if not turns.take_at_once(token):
                await turns.take(token)
            at_work[token] += 1
            try:
                assert at_work.total() <= number and at_work[token] <= most
                for _ in range(steps):
                    await asyncio.sleep(0)
            finally:
                at_work[token] -= 1
                turns.give_back(token)

        async def ask_with_patience(token: str, steps: int, patience: int) -> None:
            asking = asyncio.ensure_future(ask(token, steps))
            for _ in range(patience):
                await asyncio.sleep(0)
            if patience < 8:
                asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert asking.cancelled() or asking.exception() is None

        await asyncio.wait_for(asyncio.gather(*(ask_with_patience(*request) for request in requests)), 10)
        # All turns are free again.
        taken = [token for token in "xy" for _ in range(number) if turns.take_at_once(token)]
        assert len(taken) == number
        assert not turns._waiting

    asyncio.run(main())


def test_tokens_that_wait_take_turns() -> None:
    async def main() -> list[str]:
        turns, order = Turns(1), []

        async def ask(token: str) -> None:
            await turns.take(token)
            order.append(token)
            turns.give_back(token)

        assert turns.take_at_once("z")
        asking = [asyncio.ensure_future(ask(token)) for token in "aaaabbc"]
        await asyncio.sleep(0)
        turns.give_back("z")
        await asyncio.gather(*asking)
        return order

    assert "".join(asyncio.run(main())) == "abcabaa"

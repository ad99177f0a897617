"""One client for all who ask the same service on the same loop."""

from __future__ import annotations

import asyncio

import pytest

from tuneway.client.lending import lease
from tuneway.errors import InvalidSpec

HERE = {"base_url": "http://127.0.0.1:9/v1"}


async def test_the_same_settings_are_the_same_client_until_the_last_has_left():
    async with lease(HERE) as one:
        async with lease(HERE) as two:
            assert one is two
        async with lease(HERE) as three:
            assert one is three
    async with lease(HERE) as later:
        assert later is not one


async def test_other_settings_have_a_client_of_their_own():
    async with lease(HERE) as one, lease(HERE | {"api_key": "sk-another"}) as two:
        assert one is not two


async def test_many_who_come_at_once_make_one_client():
    made = set()

    async def borrow():
        async with lease(HERE) as client:
            made.add(id(client))
            await asyncio.sleep(0)

    await asyncio.gather(*(borrow() for _ in range(20)))
    assert len(made) == 1


async def test_settings_that_make_no_client_fail_for_each_who_asks():
    for _ in range(2):
        with pytest.raises(InvalidSpec):
            async with lease({"base_url": "not an address"}):
                pass


async def test_the_one_who_gives_up_while_it_is_made_leaves_it_to_the_others():
    first = asyncio.create_task(lease(HERE).__aenter__())
    await asyncio.sleep(0)
    async with lease(HERE) as client:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert client.base_url == HERE["base_url"]


def test_each_loop_has_its_own():
    async def borrow():
        async with lease(HERE) as client:
            return client

    assert asyncio.run(borrow()) is not asyncio.run(borrow())

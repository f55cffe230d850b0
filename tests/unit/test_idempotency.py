"""A request that is sent again under its Idempotency-Key makes, and pays for, one video, whatever became of it."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from raypipe.api import create_app
from raypipe.config import Settings
from raypipe.journal import ApiKey, Journal, idempotency
from raypipe.journal.retention import forget
from raypipe.journal.steering import cancel

BODY = {"prompt": "A lighthouse in a storm", "model": "simulated", "seconds": 5}
ORDER = {"Idempotency-Key": "order 7"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def client_of(app: Any, key: str | None = None) -> httpx.AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers)


async def made_and_deleted(client: httpx.AsyncClient) -> str:
    """Have a video made under the key, and cancel and delete it."""
    video_id = str((await client.post("/v1/videos", json=BODY, headers=ORDER)).json()["id"])
    assert (await client.post(f"/v1/videos/{video_id}/cancel")).status_code == 202
    assert (await client.delete(f"/v1/videos/{video_id}")).status_code == 200
    return video_id


@pytest.mark.parametrize("more", [{}, {"Prefer": "wait=5"}])
def test_a_key_whose_video_is_deleted_is_answered_410_and_makes_no_second_video(
    settings: Settings, more: dict[str, str]
) -> None:
    async def scenario() -> None:
        async with client_of(create_app(settings)) as client:
            video_id = await made_and_deleted(client)
            for _ in range(2):
                answer = await client.post("/v1/videos", json=BODY, headers=ORDER | more)
                assert (answer.status_code, answer.json()["error"]["code"]) == (410, "video_deleted")
                assert video_id in answer.json()["error"]["message"]
            # a form is the same request in another dress
            form = await client.post("/v1/videos", data=BODY, headers=ORDER)
            assert (form.status_code, form.json()["error"]["code"]) == (410, "video_deleted")
            assert (await client.get("/v1/videos")).json()["data"] == []

    asyncio.run(scenario())


def test_a_key_whose_video_is_deleted_is_still_refused_to_another_request_and_free_for_another_tenant(
    settings: Settings,
) -> None:
    async def scenario() -> None:
        app, journal = create_app(settings), Journal(settings.journal_url)
        keys = [await journal.keys.create(ApiKey(name=name, tenant=name)) for name in ("alice", "bob")]
        alice, bob = (client_of(app, key) for key in keys)
        await made_and_deleted(alice)
        other = await alice.post("/v1/videos", json=BODY | {"seconds": 10}, headers=ORDER)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
        assert (await bob.post("/v1/videos", json=BODY, headers=ORDER)).status_code == 202

    asyncio.run(scenario())


def test_a_key_whose_video_is_deleted_is_free_again_after_its_day(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with client_of(create_app(settings)) as client:
            video_id = await made_and_deleted(client)
            monkeypatch.setattr(idempotency, "REMEMBERED", 0.0)
            anew = await client.post("/v1/videos", json=BODY, headers=ORDER)
            assert anew.status_code == 202
            assert anew.json()["id"] != video_id

    asyncio.run(scenario())


def test_a_video_that_is_deleted_while_its_request_waits_for_its_end_is_answered_410(
    settings: Settings,
) -> None:
    async def scenario() -> None:
        async with client_of(create_app(settings)) as client:
            waiting = asyncio.create_task(
                client.post("/v1/videos", json=BODY, headers=ORDER | {"Prefer": "wait=30"})
            )
            while not (videos := (await client.get("/v1/videos")).json()["data"]):
                await asyncio.sleep(0.01)
            # both in one transaction, so that whoever waits cannot see it as cancelled
            await Journal(settings.journal_url).writer.transact(
                lambda connection: (
                    cancel(connection, videos[0]["id"], True),
                    forget(connection, videos[0]["id"]),
                )
            )
            answer = await waiting
            assert (answer.status_code, answer.json()["error"]["code"]) == (410, "video_deleted")

    asyncio.run(scenario())

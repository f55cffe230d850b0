"""Callers and what is theirs: keys, their limits, and that nobody sees what is another's."""

import asyncio
import base64
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from raypipe.api import create_app
from raypipe.api.callers import REMEMBERED
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import InvalidRequest
from raypipe.journal import ApiKey, Journal
from raypipe.models import Artifact, StepState, VideoState
from raypipe.testing.media import picture

BODY = {"prompt": "A lighthouse in a storm", "model": "simulated", "seconds": 5}


class Service:
    """The API with a key for each of two tenants."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = create_app(settings)
        self.journal = Journal(settings.journal_url)
        self.store = ArtifactStore(settings.artifacts_url)

    def client(self, key: str | None = None, address: str = "10.1.2.3", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        shown = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000", headers={**shown, **headers}
        )

    async def key(self, name: str, **limits: Any) -> str:
        return await self.journal.keys.create(ApiKey(name=name, tenant=name, **limits))

    async def finish(self, video_id: str) -> Artifact:
        """Leave a video's rows as a coordinator that has made it does."""
        stored = self.store.put(b"a film", "video/mp4")
        steps = [
            step.evolve(
                state=StepState.DONE, finished_at=time.time(), result={"artifact": stored.model_dump()}
            )
            for step in self.journal.steps(video_id)
        ]
        end = self.journal.finish(video_id, VideoState.COMPLETED, result=stored.model_dump(mode="json"))
        await self.journal.writer.put(*map(self.journal.step, steps), end)
        return stored


def run(scenario: Any) -> None:
    asyncio.run(scenario)


def test_only_this_machine_needs_no_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            assert (await service.client(address=address).get("/v1/videos")).status_code == 200, address
        for address in ("10.1.2.3", "192.168.1.1", "::ffff:10.0.0.1", "fe80::1%eth0", "", "unix"):
            answer = await service.client(address=address).get("/v1/videos")
            assert answer.status_code == 401, address
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.json()["error"]["code"] == "not_authenticated"
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            answer = await service.client(None, "127.0.0.1", **{name: "127.0.0.1"}).get("/v1/videos")
            assert answer.status_code == 401, f"{name}: somebody elsewhere asks through a proxy"
        for path in ("/", "/healthz", "/openapi.json", "/studio/app.js"):
            assert (await service.client().get(path)).status_code == 200, path

    run(scenario())


@pytest.mark.parametrize("told", [{"require_keys": True}, {"public_url": "https://films.example.org"}])
def test_where_a_proxy_may_stand_before_the_service_everybody_needs_a_key(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path, **told))
        assert (await service.client(address="127.0.0.1").get("/v1/videos")).status_code == 401
        key = await service.key("alice")
        assert (await service.client(key, "127.0.0.1").get("/v1/videos")).status_code == 200

    run(scenario())


def test_keys_open_are_kept_as_digests_alone_and_open_nothing_once_revoked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        key = await service.key("alice")
        with pytest.raises(InvalidRequest, match="already"):
            await service.key("alice")
        client = service.client(key)
        assert (await client.post("/v1/videos", json=BODY)).status_code == 202
        for wrong in (key[:-1], key + "x", key.upper(), "rp_", "x" * 10_000):
            assert (await service.client(wrong).get("/v1/videos")).status_code == 401
        assert (await service.client(key[:-1], "127.0.0.1").get("/v1/videos")).status_code == 401, (
            "not as nobody"
        )
        await service.journal.keys.revoke("alice")
        await asyncio.sleep(REMEMBERED)
        assert (await client.get("/v1/videos")).status_code == 401
        assert [each.name for each in service.journal.keys.all() if each.revoked_at] == ["alice"]
        files = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        assert key.encode() not in files
        assert hashlib.sha256(key.encode()).hexdigest().encode() in files
        assert key not in caplog.text

    run(scenario())


def test_the_page_keeps_its_key_in_a_cookie_that_scripts_cannot_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        key = await service.key("alice")
        browser = service.client()
        assert (await browser.post("/v1/session", json={"key": "rp_wrong"})).status_code == 401
        opened = await browser.post("/v1/session", json={"key": key})
        assert opened.status_code == 204
        assert {"HttpOnly", "SameSite=strict"} <= set(opened.headers["set-cookie"].split("; "))
        assert (await browser.get("/v1/videos")).status_code == 200
        for foreign in ("http://elsewhere.example", "http://[", "null", ""):
            answer = await browser.post("/v1/videos", json=BODY, headers={"Origin": foreign})
            assert answer.status_code == 403, foreign
        assert (await browser.delete("/v1/session")).status_code == 204
        assert (await browser.get("/v1/videos")).status_code == 401

    run(scenario())


def test_a_key_bounds_the_videos_of_its_tenant_at_once_and_a_day(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        at_once = service.client(await service.key("alice", most_in_flight=2))
        answers = await asyncio.gather(*(at_once.post("/v1/videos", json=BODY) for _ in range(5)))
        assert sorted(each.status_code for each in answers) == [202, 202, 429, 429, 429]
        refused = next(each for each in answers if each.status_code == 429)
        assert refused.json()["error"]["code"] == "tenant_limit"
        assert int(refused.headers["Retry-After"]) > 0
        taken = next(each.json()["id"] for each in answers if each.status_code == 202)
        assert (await at_once.post(f"/v1/videos/{taken}/cancel")).status_code == 202
        assert (await at_once.post("/v1/videos", json=BODY)).status_code == 202, "there is room again"

        a_day = service.client(await service.key("bob", most_per_day=2))
        for _ in range(2):
            made = (await a_day.post("/v1/videos", json=BODY)).json()["id"]
            await a_day.post(f"/v1/videos/{made}/cancel")
            assert (await a_day.delete(f"/v1/videos/{made}")).status_code == 200
        refused = await a_day.post("/v1/videos", json=BODY)
        assert refused.status_code == 429, "what was deleted counts too"
        assert 0 < int(refused.headers["Retry-After"]) <= 86_400
        assert service.journal.video_ids(tenant="bob") == []
        assert (await service.client(address="127.0.0.1").post("/v1/videos", json=BODY)).status_code == 202
        assert (await a_day.post("/v1/plans", json=BODY)).status_code == 200, "a plan makes nothing"

    run(scenario())


def test_who_comes_back_to_a_video_that_was_deleted_meanwhile_hears_how_it_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        alice, bob = service.client(await service.key("alice")), service.client(await service.key("bob"))
        made = (await alice.post("/v1/videos", json=BODY)).json()["id"]
        await service.finish(made)
        assert (await alice.delete(f"/v1/videos/{made}")).status_code == 200
        answer = await alice.get(f"/v1/videos/{made}/events", headers={"Last-Event-ID": "0"})
        kinds = re.findall(r"^event: (\S+)", answer.text, re.MULTILINE)
        assert kinds == ["video.accepted", "video.deleted"]
        last = re.findall(r"^id: (\d+)", answer.text, re.MULTILINE)[-1]
        again = await alice.get(f"/v1/videos/{made}/events", headers={"Last-Event-ID": last})
        assert again.status_code == 404, "browsers come back when a stream ends, until they are refused"
        assert (await bob.get(f"/v1/videos/{made}/events")).status_code == 404
        assert (await alice.get(f"/v1/videos/{made}")).status_code == 404
        assert (await alice.get("/v1/videos/vid_0/events")).status_code == 404

    run(scenario())


def test_what_is_made_anew_is_bounded_by_the_key_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        alice = service.client(await service.key("alice", most_in_flight=1, most_per_day=3))
        made = [(await alice.post("/v1/videos", json=BODY)).json()["id"]]
        await service.finish(made[0])
        made.append((await alice.post("/v1/videos", json=BODY)).json()["id"])
        edited = await alice.post(f"/v1/videos/{made[0]}/beats/0", json={})
        assert edited.status_code == 429, "one is under way"
        assert service.journal.video(made[0]).state is VideoState.COMPLETED
        await service.finish(made[1])
        assert (await alice.post(f"/v1/videos/{made[0]}/beats/0", json={})).status_code == 202
        await service.finish(made[0])
        again = await alice.post(f"/v1/videos/{made[1]}/beats/0", json={})
        assert again.status_code == 429, "that was the third of the day"
        assert "a day" in again.json()["error"]["message"]

    run(scenario())


#: all that can be asked of one video
ATTEMPTS = [
    ("GET", ""), ("HEAD", ""), ("DELETE", ""), ("GET", "/timeline"), ("HEAD", "/timeline"), ("GET", "/events"),
    ("GET", "/events?after=0"), ("GET", "/content"), ("HEAD", "/content"), ("GET", "/content?variant=thumbnail"),
    ("GET", "/content?variant=spritesheet"), ("GET", "/storyboard/0"), ("HEAD", "/storyboard/0"),
    ("GET", "/storyboard/0?take=1"), ("GET", "/chunks/0"), ("GET", "/chunks/0?take=1"), ("POST", "/cancel"),
    ("POST", "/retry"), ("POST", "/retry?allow_missing=true"), ("POST", "/retry?resubmit=true"), ("POST", "/continue"),
    ("POST", "/beats/0"), ("POST", "/beats/99"),
]  # fmt: skip


def test_what_is_anothers_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        alice, bob = service.client(await service.key("alice")), service.client(await service.key("bob"))
        nobody = service.client(address="127.0.0.1")
        hers = (await alice.post("/v1/videos", json=BODY)).json()["id"]
        film = await service.finish(hers)
        before = service.journal.video(hers), service.journal.events(hers)
        missing = f"vid_{0:028x}"
        asked = 0
        for other in (bob, nobody):
            for method, path in ATTEMPTS:
                # a digest is no permission either
                headers = {"If-None-Match": f'"{film.digest}"', "Range": "bytes=0-1"}
                body = {"json": {}} if path.startswith("/beats") else {}
                found = await other.request(method, f"/v1/videos/{hers}{path}", headers=headers, **body)
                none = await other.request(method, f"/v1/videos/{missing}{path}", headers=headers, **body)
                assert found.status_code == none.status_code == 404, (method, path)
                assert found.text == none.text.replace(missing, hers), "nothing tells them apart"
                asked += 1
            for text in ("", "?limit=100&order=asc", f"?order=asc&after=vid_{0:028x}", "?status=completed"):
                page = (await other.get(f"/v1/videos{text}")).json()
                assert page["data"] == [], text
                assert hers not in json.dumps(page)
        assert asked == 46
        assert (service.journal.video(hers), service.journal.events(hers)) == before
        assert [each["id"] for each in (await alice.get("/v1/videos")).json()["data"]] == [hers]
        assert (await alice.get(f"/v1/videos/{hers}/content")).content == b"a film"

    run(scenario())


def test_pictures_are_named_by_who_brought_them_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        alice, bob = service.client(await service.key("alice")), service.client(await service.key("bob"))
        uri = f"data:image/png;base64,{base64.b64encode(picture(64, 64, 200, 30, 30)).decode()}"
        planned = (await alice.post("/v1/plans", json={**BODY, "input_reference": uri})).json()
        spec = planned["spec"]
        (digest,) = set(re.findall(r"[0-9a-f]{64}", json.dumps(spec)))
        assert digest in service.journal.named_digests(), "gc leaves it"
        said = {**BODY, "prompt": f"a boat {digest}"}
        assert (await bob.post("/v1/videos", json=said)).status_code == 202, "saying it is not bringing it"
        unknown = json.loads(json.dumps(spec).replace(digest, "0" * 64))
        for path in ("/v1/plans", "/v1/videos"):
            body = {"spec": spec, "model": "simulated"}
            stolen = await bob.post(path, json=body)
            none = await bob.post(path, json={**body, "spec": unknown})
            assert stolen.status_code == none.status_code == 422, stolen.text
            assert stolen.text.replace(digest, "") == none.text.replace("0" * 64, "")
            assert (await alice.post(path, json=body)).status_code in (200, 202)

    run(scenario())


def test_events_are_told_to_whose_they_are_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.api.events.MOST_AGE", 0.5)

    async def scenario() -> None:
        service = Service(Settings(data_dir=tmp_path))
        alice, bob = service.client(await service.key("alice")), service.client(await service.key("bob"))
        hers = (await alice.post("/v1/videos", json=BODY)).json()["id"]
        his = (await bob.post("/v1/videos", json=BODY)).json()["id"]
        told = [(await each.get("/v1/events", headers={"Last-Event-ID": "0"})).text for each in (alice, bob)]
        for text, own, other in ((told[0], hers, his), (told[1], his, hers)):
            assert own in text
            assert other not in text
            assert "tenant" not in text

    run(scenario())

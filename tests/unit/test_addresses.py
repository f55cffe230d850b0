"""One guard for the addresses of deliveries: what is inside stays unread, with and without a proxy."""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import stamina
import trustme

from raypipe import addresses
from raypipe.addresses import environment_proxies, guarded_client, is_public, public_only
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import DeliveryNotFetched, ProviderUnavailable, RaypipeError
from raypipe.intake import plan
from raypipe.models import Job, Kind, VideoRequest
from raypipe.providers.base import Context, Delivery, ImageWork
from raypipe.providers.deliveries import Deliveries
from raypipe.providers.replicate import ReplicateProvider
from raypipe.testing import media

PICTURE = media.picture(64, 64, 200, 40, 40)
MODEL = "replicate/black-forest-labs/flux-schnell"
#: not public, in all the ways to write and to reach such addresses
INSIDE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3", "168.63.129.16",  # noqa: S104
    "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.0.2.1", "192.168.0.1", "198.18.0.1", "203.0.113.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe",
    "::ffff:a83f:8110", "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110",
    "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:fffe::7f00:1", "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:0:a:0:100::",
    "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::", "3fff::1", "4000::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
OUTSIDE = [
    "8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::5db8:d70e", "64:ff9b:1:fffe::5db8:d70e",
    "2002:5db8:d70e::",
]  # fmt: skip


@pytest.mark.parametrize("text", INSIDE)
def test_an_address_inside_or_of_nobody_is_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", OUTSIDE)
def test_an_address_on_the_internet_is_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


class Server:
    """Answers HTTP, also as a proxy does, and remembers the first line of each request and its Host."""

    def __init__(self, answer: Callable[[str, str, str], tuple[int, bytes]]) -> None:
        self._answer, self.asked, self.url = answer, list[str](), ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        await reader.readexactly(int(headers.get("content-length", "0")))
        self.asked.append(f"{method} {target}")
        status, body = self._answer(method, headers.get("host", ""), urlsplit(target).path)
        about = f"HTTP/1.1 {status} OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
        location = f"location: {body.decode()}\r\n" if status == 302 else ""
        writer.write(f"{about}{location}\r\n".encode() + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(
    answer: Callable[[str, str, str], tuple[int, bytes]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()


@pytest.fixture(autouse=True)
def _no_proxy_and_no_second_try(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    stamina.set_testing(True, attempts=1)
    yield
    stamina.set_testing(False)


def deliveries(host: str | None) -> Deliveries:
    return Deliveries("fal", host, ArtifactStore("memory:///addresses"))


def looks_up(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> list[str]:
    """Have names stand for addresses; each has a list of answers, the last one again and again. Gives what is asked."""
    asked: list[str] = []

    def answer(host: str, *arguments: Any, **more: Any) -> Any:
        asked.append(host)
        if host not in names:
            return found(host, *arguments, **more)
        texts = names[host].pop(0) if len(names[host]) > 1 else names[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 0)) for text in texts.split()]

    found = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


@pytest.mark.parametrize("text", [text for text in INSIDE if "%" not in text])
@pytest.mark.parametrize("host", [None, "8.8.8.8"])
def test_no_delivery_of_a_public_vendor_is_inside(host: str | None, text: str) -> None:
    url = f"http://[{text}]/x" if ":" in text else f"http://{text}/x"
    with pytest.raises(DeliveryNotFetched, match="no public address"):
        asyncio.run(deliveries(host).fetch(url, Kind.CLIP, lambda _: {}))


SECRETS = [
    "169.254.169.254", "168.63.129.16", "192.0.0.192", "100.100.100.200", "[fd00:ec2::254]", "[fe80::1]",
    "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[::a9fe:a9fe]",
    "[::ffff:0:a9fe:a9fe]", "[fec0::1]", "224.0.0.1", "0.0.0.0",  # noqa: S104
]  # fmt: skip


@pytest.mark.parametrize("host", SECRETS)
def test_no_delivery_is_where_clouds_keep_secrets_though_the_vendor_is_inside_too(host: str) -> None:
    with pytest.raises(DeliveryNotFetched, match="no public address"):
        asyncio.run(deliveries("127.0.0.1").fetch(f"http://{host}/latest", Kind.CLIP, lambda _: {}))


def test_a_vendor_inside_delivers_from_inside_but_not_from_this_machine_unless_it_is_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks_up(
        monkeypatch, {"gpu.lan": ["10.0.0.5"], "public.example": ["8.8.8.8"], "here.example": ["127.0.0.1"]}
    )

    async def may_be(host: str, text: str) -> bool:
        return await deliveries(host)._may_be_at("files.example", ipaddress.ip_address(text))

    async def test() -> None:
        assert await may_be("gpu.lan", "192.168.0.7")
        assert not await may_be("gpu.lan", "127.0.0.1")
        assert not await may_be("gpu.lan", "::ffff:127.0.0.1")
        assert await may_be("here.example", "127.0.0.1")
        assert not await may_be("public.example", "10.0.0.5")
        assert not await may_be("no-such-host.invalid", "10.0.0.5")

    asyncio.run(test())


def test_the_address_that_was_checked_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is checked and ours when it is asked (DNS rebinding) brings nothing."""
    asked: list[str] = []

    async def answer(_: Any, request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.host} {request.headers['host']}")
        return httpx.Response(200, content=b"a clip")

    names = looks_up(monkeypatch, {"rebound.example": ["93.184.215.14", "127.0.0.1"]})
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    asyncio.run(deliveries(None).fetch("https://rebound.example/x", Kind.CLIP, lambda _: {}))
    assert asked == ["93.184.215.14 rebound.example"]
    assert names == ["rebound.example"]


def test_a_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    looks_up(monkeypatch, {"both.example": ["93.184.215.14 127.0.0.1"]})
    with pytest.raises(DeliveryNotFetched, match="no public address"):
        asyncio.run(deliveries(None).fetch("https://both.example/x", Kind.CLIP, lambda _: {}))


def test_each_address_that_a_delivery_is_sent_on_to_is_checked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    looks_up(monkeypatch, {"vendor.example": ["127.0.0.1"], "inside.example": ["169.254.169.254"]})

    async def test() -> None:
        async with listening(lambda *_: (302, b"http://inside.example/latest")) as server:
            url = server.url.replace("127.0.0.1", "vendor.example")
            with pytest.raises(DeliveryNotFetched, match=r"inside\.example, which has no public address"):
                await deliveries("127.0.0.1").fetch(f"{url}/x", Kind.CLIP, lambda _: {})
            assert server.asked == ["GET /x"]

    asyncio.run(test())


def test_where_one_address_of_a_host_does_not_answer_the_next_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, Any]] = []

    async def answer(_: Any, request: httpx.Request) -> httpx.Response:
        asked.append((request.url.host, request.extensions["timeout"]["connect"]))
        if len(asked) == 1:
            raise httpx.ConnectTimeout("nobody is there", request=request)
        return httpx.Response(200, content=b"a clip")

    looks_up(monkeypatch, {"two.example": ["93.184.215.14 8.8.8.8"]})
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    asyncio.run(deliveries(None).fetch("https://two.example/x", Kind.CLIP, lambda _: {}))
    assert [host for host, _ in asked] == ["93.184.215.14", "8.8.8.8"]
    assert asked[0][1] == addresses.OTHER_ADDRESS_SECONDS < asked[1][1]


def test_a_host_with_many_addresses_of_a_family_to_which_there_is_no_way_is_asked_by_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def answer(_: Any, request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if ":" in request.url.host:
            raise httpx.ConnectError("Network is unreachable", request=request)
        return httpx.Response(200, content=b"a clip")

    many = "2606:4700::1 2606:4700::2 2606:4700::3 2606:4700::4 8.8.8.8 8.8.4.4"
    looks_up(monkeypatch, {"many.example": [many]})
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    asyncio.run(deliveries(None).fetch("https://many.example/x", Kind.CLIP, lambda _: {}))
    assert asked == ["2606:4700::1", "2606:4700::2", "8.8.8.8"]


@pytest.mark.parametrize(("name", "is_known"), [("files.example", True), ("others.example", False)])
def test_the_address_that_is_asked_has_to_be_that_of_its_name_by_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_known: bool
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    looks_up(monkeypatch, {name: ["127.0.0.1"]})
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("files.example").configure_cert(context)

    async def test() -> None:
        async with listening(lambda *_: (200, b"a clip"), context) as server:
            url = server.url.replace("http://127.0.0.1", f"https://{name}")
            fetching = deliveries("127.0.0.1").fetch(f"{url}/x", Kind.CLIP, lambda _: {})
            if is_known:
                assert (await fetching).size == len(b"a clip")
            else:
                with pytest.raises(ProviderUnavailable, match="certificate"):
                    await fetching

    asyncio.run(test())


# --- behind a proxy ---------------------------------------------------------------------------------------------------
def answer_as_replicate(method: str, host: str, path: str) -> tuple[int, bytes]:
    """Answer for hosts that no DNS knows."""
    if host == "delivery.vendor-x.invalid":
        return 200, PICTURE
    assert host == "api.vendor-x.invalid"
    if path.startswith("/models/") and method == "GET":
        return 200, b'{"is_official": true}'
    if method == "POST":
        return 201, b'{"id": "job1"}'
    output = "http://delivery.vendor-x.invalid/file.png"
    return 200, json.dumps({"status": "succeeded", "output": [output]}).encode()


def test_behind_a_proxy_a_vendor_that_no_dns_knows_is_asked_and_delivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "the-key")

    async def test() -> None:
        async with listening(answer_as_replicate) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            store = ArtifactStore((tmp_path / "artifacts").as_uri())
            settings = Settings(data_dir=tmp_path, provider_urls={"replicate": "http://api.vendor-x.invalid"})
            spec = plan(VideoRequest(prompt="A boat", models={Kind.IMAGE: (MODEL,)}), "v", settings, store)
            work = ImageWork(job=Job.of("v", spec), model=MODEL, beat=spec.beats[0])
            provider = ReplicateProvider(Context(settings, store))
            assert await provider.submit(work, "token") == "job1"
            delivered = await provider.poll("job1", work)
            assert isinstance(delivered, Delivery)
            assert await store.get_async(delivered.artifact) == PICTURE
            assert proxy.asked[-1] == "GET http://delivery.vendor-x.invalid/file.png"

    asyncio.run(test())


PROXIED_INSIDE = [
    "http://127.0.0.1/x", "http://127.1/x", "http://2130706433/x", "http://0x7f000001/x", "http://[::1]/x", "http://localhost/x",
    "http://169.254.169.254/x", "http://10.0.0.1/x", "http://[64:ff9b::7f00:1]/x", "http://named.example/x",
]  # fmt: skip


@pytest.mark.parametrize("url", PROXIED_INSIDE)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "sent on to"])
def test_behind_a_proxy_what_is_known_to_be_inside_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, at_once: bool
) -> None:
    looks_up(monkeypatch, {"named.example": ["192.168.0.1"]})

    async def test() -> None:
        async with listening(lambda *_: (302, url.encode())) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            first = url if at_once else "http://delivery.vendor-x.invalid/y"
            with pytest.raises(DeliveryNotFetched, match="no public address"):
                await deliveries(None).fetch(first, Kind.CLIP, lambda _: {})
            assert proxy.asked == ([] if at_once else [f"GET {first}"])

    asyncio.run(test())


def test_a_host_that_is_exempt_from_the_proxy_is_looked_up_and_pinned_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with (
            listening(lambda *_: (200, b"by the proxy")) as proxy,
            listening(lambda *_: (200, b"here")) as here,
        ):
            port = urlsplit(here.url).port
            looks_up(monkeypatch, {"vendor.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]})
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "example")
            store = ArtifactStore("memory:///exempt")
            fetching = Deliveries("fal", "127.0.0.1", store).fetch(
                f"http://vendor.example:{port}/x", Kind.CLIP, lambda _: {}
            )
            assert store.get(await fetching) == b"here"
            with pytest.raises(DeliveryNotFetched, match="no public address"):
                await deliveries(None).fetch("http://inside.example/x", Kind.CLIP, lambda _: {})
            assert proxy.asked == []

    asyncio.run(test())


def test_without_a_proxy_a_host_that_no_dns_knows_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProviderUnavailable, match=r"no host delivery\.vendor-x\.invalid"):
        asyncio.run(deliveries(None).fetch("http://delivery.vendor-x.invalid/x", Kind.CLIP, lambda _: {}))


@pytest.mark.parametrize("host", ["a" * 300, "a..b", "xn--0.example"])
def test_a_host_that_is_none_is_told_as_such_with_and_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    async def test() -> None:
        async with listening(lambda *_: (502, b"")) as proxy:
            for url in ("", proxy.url):
                monkeypatch.setenv("HTTP_PROXY", url)
                with pytest.raises(RaypipeError) as told:
                    await deliveries(None).fetch(f"http://{host}/x", Kind.CLIP, lambda _: {})
                assert type(told.value) in (DeliveryNotFetched, ProviderUnavailable)

    asyncio.run(test())


ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"HTTP_PROXY": "http://proxy:1"},
    {"https_proxy": "proxy:2"},
    {"ALL_PROXY": "http://user:word@proxy:3", "HTTP_PROXY": "http://proxy:1"},
    {"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "*"},
    {
        "HTTP_PROXY": "http://proxy:1",
        "NO_PROXY": "example.com, .internal,localhost,10.0.0.1,::1,192.168.0.0/16, ",
    },
    {"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "http://example.com"},
    {"NO_PROXY": "example.com"},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=repr)
def test_the_environments_proxies_are_those_that_httpx_reads(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    theirs = {
        pattern.pattern: through is not None for pattern, through in httpx.AsyncClient()._mounts.items()
    }
    assert {pattern: through is not None for pattern, through in environment_proxies().items()} == theirs
    guarded = guarded_client(public_only, httpx.Timeout(1.0))
    assert {pattern.pattern: through is not None for pattern, through in guarded._mounts.items()} == theirs

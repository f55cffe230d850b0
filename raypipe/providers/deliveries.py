"""Fetching what a vendor has made: part by part into the store, bounded, and from no address inside our own network."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import stamina

from raypipe.artifacts import ArtifactStore
from raypipe.data_uris import is_data_uri, read_data_uri
from raypipe.errors import MediaError, ProviderUnavailable
from raypipe.models import Artifact, Kind

#: largest delivery, in bytes
MOST_BYTES = {Kind.IMAGE: 64 * 2**20, Kind.CLIP: 2 * 2**30, Kind.MUSIC: 256 * 2**20}
#: seconds that each part may take
PART_SECONDS = 60.0
#: how often a delivery is asked for before the vendor counts as unavailable
ATTEMPTS = 4
#: answers that say that a delivery is not there
_GONE = (403, 404, 410)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: gives the headers with which an address is asked
HeadersOf = Callable[[str], dict[str, str]]


class DeliveryMissing(ProviderUnavailable):
    """A delivery is not there: not yet, or not any more."""


class Deliveries:
    """Fetches what one vendor has made.

    Args:
        vendor: Its name, for what is said.
        host: Its API's own host, which may be inside our network, as a fake's is.
        store: Gets what is fetched.
    """

    def __init__(self, vendor: str, host: str, store: ArtifactStore) -> None:
        self._vendor, self._host, self._store = vendor, host, store
        limits = httpx.Limits(max_connections=None)
        hooks = {"request": [self._check_address]}
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(PART_SECONDS, pool=None),
            limits=limits,
            event_hooks=hooks,
            follow_redirects=True,
        )

    async def fetch(self, url: str, kind: Kind, headers_of: HeadersOf) -> Artifact:
        """Store what is at an address.

        Raises:
            MediaError: It is larger than can be borne, or is where nothing may be fetched from.
            DeliveryMissing: It is not there.
            ProviderUnavailable: It could not be fetched.
        """
        if is_data_uri(url):
            return await self._stored_uri(url)
        for attempt in stamina.retry_context(on=ProviderUnavailable, attempts=ATTEMPTS, timeout=None):
            with attempt:
                async with self._answer(url, headers_of) as answer:
                    media_type = _media_type(answer.headers.get("content-type", ""))
                    return await self._stored(self._bounded(answer, MOST_BYTES[kind]), media_type)
        raise AssertionError("unreachable")

    async def _stored_uri(self, uri: str) -> Artifact:
        try:
            media = await asyncio.to_thread(read_data_uri, uri)
        except MediaError as error:
            raise MediaError(f"what {self._vendor} delivered cannot be read: {error}") from error
        return await self._store.put_async(media.data, media.media_type)

    async def _stored(self, parts: AsyncIterator[bytes], media_type: str) -> Artifact:
        return await self._store.put_parts(parts, media_type)

    @asynccontextmanager
    async def _answer(self, url: str, headers_of: HeadersOf) -> AsyncIterator[httpx.Response]:
        what = f"what {self._vendor} made cannot be fetched"
        try:
            address, headers = httpx.URL(url), headers_of(url)
            if address.scheme not in ("https", "http") or not address.host:
                raise httpx.UnsupportedProtocol(url)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            raise MediaError(f"{what}, because {url:.80} is no address") from error
        try:
            async with self._client.stream("GET", address, headers=headers) as answer:
                if answer.status_code >= httpx.codes.BAD_REQUEST:
                    kind = DeliveryMissing if answer.status_code in _GONE else ProviderUnavailable
                    raise kind(f"{what}: {answer.status_code} {answer.reason_phrase}".strip())
                yield answer
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:  # or it was sent on to one
            raise MediaError(f"{what}, because {url:.80} is no address") from error
        except httpx.HTTPError as error:
            raise ProviderUnavailable(f"{what}: {error or type(error).__name__}") from error

    async def _bounded(self, answer: httpx.Response, most: int) -> AsyncIterator[bytes]:
        size, declared = 0, answer.headers.get("content-length", "")
        too_large = MediaError(f"{self._vendor} delivered more than {most // 2**20} MiB")
        if declared.isdecimal() and int(declared) > most:
            raise too_large
        async for part in answer.aiter_bytes(2**20):
            size += len(part)
            if size > most:
                raise too_large
            yield part
        if declared and "content-encoding" not in answer.headers and size != int(declared):
            raise ProviderUnavailable(
                f"what {self._vendor} made was cut off after {size} of {declared} bytes"
            )

    async def _check_address(self, request: httpx.Request) -> None:
        """Refuse an address inside our own network, redirects included: what is there is no vendor's to read.

        Of a vendor that is there itself, deliveries may be too, but for addresses of the link, where clouds keep a
        machine's secrets.
        """
        host = request.url.host
        if host == self._host:
            return
        inside = [each for each in await self._addresses(host) if not each.is_global]
        if any(each.is_link_local for each in inside) or (inside and not await self._is_inside()):
            raise MediaError(
                f"{self._vendor} says that what it made is at {host}, but {inside[0]} is no public address"
            )

    async def _is_inside(self) -> bool:
        return not any(each.is_global for each in await self._addresses(self._host))

    async def _addresses(self, host: str) -> list[Address]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise MediaError(
                f"{self._vendor} says that what it made is at {host:.80}, which is no host"
            ) from error
        except OSError as error:
            raise ProviderUnavailable(
                f"what {self._vendor} made cannot be fetched: there is no {host}"
            ) from error
        return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip() or "application/octet-stream"

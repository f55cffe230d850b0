"""Fetching what a vendor has made: part by part into the store, bounded, and from no address inside our own network."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
import stamina

from raypipe.addresses import (
    Address,
    NotPublic,
    addresses_of,
    guarded_client,
    is_private,
    is_public,
    meant_by,
)
from raypipe.artifacts import ArtifactStore
from raypipe.data_uris import is_data_uri, read_data_uri
from raypipe.errors import DeliveryNotFetched, MediaError, ProviderUnavailable
from raypipe.models import Artifact, Kind

#: largest delivery, in bytes
MOST_BYTES = {Kind.IMAGE: 64 * 2**20, Kind.CLIP: 2 * 2**30, Kind.MUSIC: 256 * 2**20}
#: seconds that each part may take
PART_SECONDS = 60.0
#: how often a delivery is asked for before the vendor counts as unavailable
ATTEMPTS = 4
#: answers that say that a delivery is not there
_GONE = (403, 404, 410)
#: answers that bring what was asked for; any other below 300 says that it is not there yet
_THERE = (200, 203)
#: what pages and errors begin with, and no picture, clip or track does
_TEXT = (b"<", b"{", b"[")
#: addresses that a delivery may be sent on to
MOST_REDIRECTS = 10

#: gives the headers with which an address is asked
HeadersOf = Callable[[str], dict[str, str]]


class DeliveryMissing(ProviderUnavailable):
    """A delivery is not there: not yet, or not any more."""


class Deliveries:
    """Fetches what one vendor has made.

    Args:
        vendor: Its name, for what is said.
        host: Of its API where our own settings say where that is: it may be inside our network, as a fake's is.
            None where it is the vendor's own.
        store: Gets what is fetched.
    """

    def __init__(self, vendor: str, host: str | None, store: ArtifactStore) -> None:
        self._vendor, self._host, self._store = vendor, host, store
        self._client = guarded_client(self._check, httpx.Timeout(PART_SECONDS, pool=None))

    async def fetch(self, url: str, kind: Kind, headers_of: HeadersOf) -> Artifact:
        """Store what is at an address.

        Raises:
            MediaError: It is larger than can be borne.
            DeliveryNotFetched: The address is none, leads in a circle, or is where nothing may be fetched from.
            DeliveryMissing: It is not there.
            ProviderUnavailable: It could not be fetched, or is not there yet.
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
            answer = await self._at_the_end_of(url, headers_of)
            try:
                if answer.status_code not in _THERE:
                    kind = DeliveryMissing if answer.status_code in _GONE else ProviderUnavailable
                    raise kind(f"{what}: {answer.status_code} {answer.reason_phrase}".strip())
                yield answer
            finally:
                await answer.aclose()
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, NotPublic) as error:
            raise DeliveryNotFetched(f"{what}, because {error}") from error
        except httpx.HTTPError as error:
            raise ProviderUnavailable(f"{what}: {error or type(error).__name__}") from error

    async def _at_the_end_of(self, url: str, headers_of: HeadersOf) -> httpx.Response:
        """Ask an address, and whatever it sends on to, with the headers that each of them is given.

        Raises:
            httpx.TooManyRedirects: It leads in a circle, or on and on.
            httpx.HTTPError: What httpx raises.
            NotPublic: One is inside our own network.
        """
        request, asked = self._request(url, headers_of), list[httpx.URL]()
        while request.url not in asked and len(asked) <= MOST_REDIRECTS:
            asked.append(request.url)
            answer = await self._client.send(request, stream=True)
            if answer.next_request is None:
                return answer
            await answer.aclose()
            request = self._request(str(answer.next_request.url), headers_of)
        how = "in a circle" if request.url in asked else f"more than {MOST_REDIRECTS} times"
        # what gives access is in the query
        first, last = (address.copy_with(query=None) for address in (asked[0], request.url))
        raise httpx.TooManyRedirects(f"{first!s:.200} is sent on {how}, at last to {last!s:.200}")

    def _request(self, url: str, headers_of: HeadersOf) -> httpx.Request:
        try:
            address, headers = httpx.URL(url), headers_of(url)
            if address.scheme not in ("https", "http") or not address.host:
                raise ValueError(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise httpx.UnsupportedProtocol(f"{url:.80} is no address") from error
        return self._client.build_request("GET", address, headers=headers)

    async def _bounded(self, answer: httpx.Response, most: int) -> AsyncIterator[bytes]:
        size, declared = 0, answer.headers.get("content-length", "")
        too_large = MediaError(f"{self._vendor} delivered more than {most // 2**20} MiB")
        if declared.isdecimal() and int(declared) > most:
            raise too_large
        async for part in answer.aiter_bytes(2**20):
            if not size and part.lstrip().startswith(_TEXT):
                raise ProviderUnavailable(
                    f"what {self._vendor} made is not there yet: in its place is text that begins with {part[:60]!r}"
                )
            size += len(part)
            if size > most:
                raise too_large
            yield part
        if not size:
            raise ProviderUnavailable(f"what {self._vendor} made is not there yet: the answer is empty")
        if declared and "content-encoding" not in answer.headers and size != int(declared):
            raise ProviderUnavailable(
                f"what {self._vendor} made was cut off after {size} of {declared} bytes"
            )

    async def _check(self, host: str, addresses: Sequence[Address]) -> None:
        """Refuse a host inside our own network: what is there is no vendor's to read.

        Of a vendor that our own settings have put there, deliveries may be at other private addresses too, at this
        machine's only if the vendor is; never at addresses of the link or of clouds, where a machine's secrets are.

        Raises:
            NotPublic: It is refused.
        """
        for address in addresses:
            if not is_public(address) and not await self._may_be_at(host, address):
                setting = f"RAYPIPE_{self._vendor.upper()}_URL"
                raise NotPublic(
                    f"{self._vendor} says that it is at {host:.80}, which has no public address; what is inside our "
                    f"own network is fetched only of a vendor that {setting} puts there"
                )

    async def _may_be_at(self, host: str, address: Address) -> bool:
        """Tell whether a delivery may be at an address inside our own network."""
        if self._host is None or not is_private(address):
            return False
        if host == self._host:
            return True
        try:
            beside = await addresses_of(self._host)
        except (OSError, ValueError):  # nobody here knows where the vendor is
            return False
        if any(is_public(known) for known in beside):
            return False
        return not meant_by(address).is_loopback or any(meant_by(known).is_loopback for known in beside)


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip() or "application/octet-stream"

"""Pictures that requests give by their address: fetched here, once, from public addresses alone."""

import asyncio
from collections.abc import Iterable

import httpx

from raypipe.addresses import anywhere, pinned_client, public_only
from raypipe.config import Settings
from raypipe.data_uris import data_uri
from raypipe.errors import InvalidReferenceImage

#: largest picture in bytes, and seconds that fetching it may take
MOST_BYTES, SECONDS = 20 * 2**20, 20.0
#: pictures that one request may give by their address
MOST = 8


class _Unusable(Exception):
    """What is there is no picture that could be used."""


class Pictures:
    """Fetches pictures."""

    def __init__(self, settings: Settings) -> None:
        self._schemes = ("https://", "http://") if settings.allow_private_urls else ("https://",)
        check = anywhere if settings.allow_private_urls else public_only
        self._client = pinned_client(check, SECONDS)

    async def fetch(self, given: Iterable[object]) -> dict[str, str]:
        """Return, for each of these that is an address, the picture there as a data: URI.

        Raises:
            InvalidReferenceImage: One cannot be fetched, is too large, or is where nothing may be fetched from.
        """
        addresses = list(
            dict.fromkeys(
                each
                for each in given
                if isinstance(each, str) and each.lower().startswith(("http:", "https:"))
            )
        )
        if len(addresses) > MOST:
            raise InvalidReferenceImage(f"At most {MOST} pictures can be given by their address.")
        fetching = [asyncio.create_task(self._fetch(each)) for each in addresses]
        try:
            return dict(zip(addresses, await asyncio.gather(*fetching), strict=True))
        finally:
            for task in fetching:
                task.cancel()

    async def _fetch(self, url: str) -> str:
        try:
            if not url.lower().startswith(self._schemes):
                raise _Unusable("it must be an https:// address")
            async with asyncio.timeout(SECONDS):
                data = await self._read(url)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, _Unusable, TimeoutError) as error:
            why = str(error) or "it takes too long"
            raise InvalidReferenceImage(f"The picture at {url:.100} cannot be used: {why}.") from error
        # what it is, its bytes say, when it is stored
        return data_uri(data)

    async def _read(self, url: str) -> bytes:
        data = bytearray()
        async with self._client.stream("GET", url, headers={"accept": "image/png, image/jpeg"}) as answer:
            if not answer.is_success:
                raise _Unusable(f"the answer there is {answer.status_code}")
            async for part in answer.aiter_bytes():
                data += part
                if len(data) > MOST_BYTES:
                    raise _Unusable(f"it is larger than {MOST_BYTES // 2**20} MiB")
        if not data:
            raise _Unusable("the answer there is empty")
        return bytes(data)

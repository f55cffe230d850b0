"""Pictures that requests give by their address: fetched here, once, from public addresses alone."""

import asyncio
import base64
from collections.abc import Iterable

import httpx

from raypipe.addresses import NotPublic, Pinned, anywhere, public_only
from raypipe.config import Settings
from raypipe.errors import InvalidReferenceImage

#: largest picture in bytes, and seconds that fetching it may take
MOST_BYTES, SECONDS = 20 * 2**20, 20.0
#: pictures that are fetched at once for one request
AT_ONCE = 4


class _Unusable(Exception):
    """What is there is no picture that could be used."""


class Pictures:
    """Fetches pictures."""

    def __init__(self, settings: Settings) -> None:
        self._schemes = ("https://", "http://") if settings.allow_private_urls else ("https://",)
        check = anywhere if settings.allow_private_urls else public_only
        self._client = httpx.AsyncClient(
            transport=Pinned(check), timeout=SECONDS, follow_redirects=False, trust_env=False
        )

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
        turn = asyncio.Semaphore(AT_ONCE)
        found = await asyncio.gather(*(self._fetch(each, turn) for each in addresses))
        return dict(zip(addresses, found, strict=True))

    async def _fetch(self, url: str, turn: asyncio.Semaphore) -> str:
        try:
            if not url.lower().startswith(self._schemes):
                raise _Unusable("it must be an https:// address")
            async with turn, asyncio.timeout(SECONDS):
                data = await self._read(url)
        except (httpx.HTTPError, httpx.InvalidURL, NotPublic, _Unusable, TimeoutError) as error:
            why = str(error) or "it takes too long"
            raise InvalidReferenceImage(f"The picture at {url:.100} cannot be used: {why}.") from error
        # what it is, its bytes say, when it is stored
        return f"data:image/png;base64,{base64.b64encode(data).decode()}"

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

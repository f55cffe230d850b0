"""Addresses that others give us: asked where they were checked, and not inside our own network (SSRF)."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: raises what is to be raised if a host, which has those addresses, may not be asked
Check = Callable[[str, Sequence[Address]], Awaitable[None]]

#: IPv6 addresses through which gateways reach IPv4 ones, by RFC 6052
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_MOST_ADDRESSES = 4


class NotPublic(ValueError):
    """An address is inside our own network, or is nobody's."""


def is_public(address: Address) -> bool:
    """Tell whether an address is somebody's on the Internet, as is any IPv4 address that it stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


async def public_only(host: str, addresses: Sequence[Address]) -> None:
    """Refuse a host that has an address which is not public.

    Raises:
        NotPublic: It has one.
    """
    for address in addresses:
        if not is_public(address):
            raise NotPublic(f"{host:.80} is {address}, which is no public address")


async def anywhere(host: str, addresses: Sequence[Address]) -> None:
    """Refuse nothing."""


async def addresses_of(host: str) -> list[Address]:
    """Look a host up.

    Raises:
        OSError: There is no such host.
        UnicodeError: It is no name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


class Pinned(httpx.AsyncHTTPTransport):
    """Looks a host up once, checks what it finds, and asks the very address it has checked.

    Who answers for a name one moment with a public address and the next with one of ours (DNS rebinding) gains nothing.
    """

    def __init__(self, check: Check, limits: httpx.Limits | None = None) -> None:
        super().__init__(limits=limits or httpx.Limits())
        self._check = check

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask an address that has been checked.

        Raises:
            httpx.ConnectError: There is no such host, or it cannot be reached.
            Exception: What the check raises.
        """
        host = request.url.host
        try:
            addresses = await addresses_of(host)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"there is no host {host:.80}", request=request) from error
        await self._check(host, addresses)
        *others, last = list(dict.fromkeys(addresses))[:_MOST_ADDRESSES]
        for address in others:
            with suppress(httpx.ConnectError):
                return await super().handle_async_request(_at(request, address))
        return await super().handle_async_request(_at(request, last))


def _at(request: httpx.Request, address: Address) -> httpx.Request:
    """Return a request to an address, which keeps the name that it and its certificate are known by."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )

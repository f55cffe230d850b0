"""Addresses that others give us: asked where they were checked, and not inside our own network (SSRF)."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: raises what is to be raised if a host, which has those addresses, may not be asked
Check = Callable[[str, Sequence[Address]], Awaitable[None]]

#: IPv6 addresses through which gateways reach IPv4 ones, by RFC 6052
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: of local use (RFC 8215), old ways to write IPv4 addresses as IPv6 ones, where a cloud answers its machines
_NOT_PUBLIC = [
    ipaddress.ip_network(each)
    for each in ("64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "192.0.0.0/24", "168.63.129.16/32")
]
_MOST_ADDRESSES = 4
#: threads that look hosts up, and seconds that one may take: strangers' names keep nothing else waiting
_LOOKUPS = ThreadPoolExecutor(8, thread_name_prefix="lookups")
LOOKUP_SECONDS = 10.0


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
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast


async def public_only(host: str, addresses: Sequence[Address]) -> None:
    """Refuse a host that has an address which is not public.

    Raises:
        NotPublic: It has one.
    """
    for address in addresses:
        if not is_public(address):
            # which address it is, is nobody's business: names of our own network are not told to strangers
            raise NotPublic(f"{host:.80} has no public address")


async def anywhere(host: str, addresses: Sequence[Address]) -> None:
    """Refuse nothing."""


async def addresses_of(host: str) -> list[Address]:
    """Look a host up.

    Raises:
        OSError: There is no such host, or nobody says so in time.
        UnicodeError: It is no name.
    """
    look = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    async with asyncio.timeout(LOOKUP_SECONDS):
        found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, look)
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


class Pinned(httpx.AsyncHTTPTransport):
    """Looks a host up once, checks what it finds, and asks the very address it has checked.

    Who answers for a name one moment with a public address and the next with one of ours (DNS rebinding) gains nothing.
    """

    def __init__(self, check: Check) -> None:
        # a connection that is kept is known by its address: the next host there would not be asked for its certificate
        super().__init__(limits=httpx.Limits(max_keepalive_connections=0))
        self._check = check

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask an address that has been checked.

        Raises:
            httpx.ConnectError: There is no such host, or it cannot be reached.
            Exception: What the check raises.
        """
        try:
            host = request.url.host
            addresses = await addresses_of(host)
        except (OSError, ValueError) as error:  # a name that is none is a ValueError
            raise httpx.ConnectError("there is no such host", request=request) from error
        await self._check(host, addresses)
        *others, last = list(dict.fromkeys(addresses))[:_MOST_ADDRESSES]
        for address in others:
            with suppress(httpx.ConnectError):
                return await super().handle_async_request(_at(request, address))
        return await super().handle_async_request(_at(request, last))


def pinned_client(check: Check, seconds: float) -> httpx.AsyncClient:
    """Return a client for strangers' addresses: it follows no redirects, keeps no cookies, and heeds no proxy."""
    jar = CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        transport=Pinned(check), timeout=seconds, follow_redirects=False, trust_env=False, cookies=jar
    )


def _at(request: httpx.Request, address: Address) -> httpx.Request:
    """Return a request to an address, which keeps the name that it and its certificate are known by."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )

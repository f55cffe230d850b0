"""Addresses that others give us: asked where they were checked, and not inside our own network (SSRF)."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.request import getproxies

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: raises what is to be raised if a host, which has those addresses, may not be asked
Check = Callable[[str, Sequence[Address]], Awaitable[None]]

#: IPv6 addresses through which gateways reach IPv4 ones: everybody's (RFC 6052), and a network's own (RFC 8215)
_NAT64, _LOCAL_NAT64 = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48")
#: what of IPv6 is given out on the Internet, and what of that is for examples, which Python does not know yet
_GLOBAL_IPV6, _EXAMPLES_IPV6 = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("3fff::/20")
#: where a cloud answers its machines, beside the addresses of the link: Azure, Oracle, Alibaba, AWS
_OF_CLOUDS = [
    ipaddress.ip_network(text)
    for text in ("168.63.129.16/32", "192.0.0.0/24", "100.100.100.200/32", "fd00:ec2::/32")
]
#: what people give their own machines; links' addresses, which clouds answer too, are none of it
_PRIVATE = [
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128"
    )
]  # fmt: skip
#: schemes of URLs that the environment may name a proxy for
_PROXIED_SCHEMES = ("http", "https", "all")
#: addresses of each family of a host that are asked: a machine may have no way to one of them
_MOST_OF_A_FAMILY = 2
#: seconds that one of a host's addresses has to take the connection, while there is another
OTHER_ADDRESS_SECONDS = 5.0
#: threads that look hosts up, and seconds that one may take: strangers' names keep nothing else waiting
_LOOKUPS = ThreadPoolExecutor(8, thread_name_prefix="lookups")
LOOKUP_SECONDS = 10.0


class NotPublic(ValueError):
    """An address is inside our own network, or is nobody's."""


def is_public(address: Address) -> bool:
    """Tell whether an address is somebody's on the Internet, as is any IPv4 address that it stands for."""
    address = meant_by(address)
    if address.version == 6 and (address not in _GLOBAL_IPV6 or address in _EXAMPLES_IPV6):
        return False
    return address.is_global and not address.is_multicast and not _is_of_cloud(address)


def is_private(address: Address) -> bool:
    """Tell whether an address is one of a network's own machines, and not where a cloud keeps their secrets."""
    address = meant_by(address)
    return any(address in network for network in _PRIVATE) and not _is_of_cloud(address)


def meant_by(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, where it does; else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    last = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    # RFC 6052 has other places for the IPv4 address too: only where those are empty it is surely the last one
    if address in _NAT64 or (address in _LOCAL_NAT64 and not (int(address) >> 32) & 0xFFFF_FFFF):
        return last
    return address.ipv4_mapped or address.sixtofour or address


def _is_of_cloud(address: Address) -> bool:
    return any(address in network for network in _OF_CLOUDS)


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
        host = request.url.host
        try:
            addresses = await addresses_of(host)
        except (OSError, ValueError) as error:  # a name that is none is a ValueError
            raise httpx.ConnectError(f"there is no host {host:.80}", request=request) from error
        await self._check(host, addresses)
        *others, last = _asked_of(addresses)
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await super().handle_async_request(_at(request, address, OTHER_ADDRESS_SECONDS))
        return await super().handle_async_request(_at(request, last))


class Proxied(httpx.AsyncBaseTransport):
    """Asks a host through an HTTP proxy, whose business the name is; what is known here is checked here.

    Args:
        check: Is asked about a host that is an address, or that can be looked up here too.
        proxy: The proxy's URL.
    """

    def __init__(self, check: Check, proxy: str) -> None:
        self._check = check
        self._transport = httpx.AsyncHTTPTransport(proxy=proxy, limits=httpx.Limits(max_connections=None))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Have the proxy ask a host.

        Raises:
            httpx.ConnectError: The host's name is none.
            httpx.HTTPError: The proxy cannot be reached, or what it answers is no answer.
            Exception: What the check raises.
        """
        host = request.url.host
        try:
            addresses = await addresses_of(host)
        except OSError:  # nobody here knows the name
            addresses = []
        except ValueError as error:
            raise httpx.ConnectError(f"there is no host {host:.80}", request=request) from error
        await self._check(host, addresses)
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections to the proxy."""
        await self._transport.aclose()


def pinned_client(check: Check, seconds: float) -> httpx.AsyncClient:
    """Return a client for strangers' addresses: it follows no redirects, keeps no cookies, and heeds no proxy."""
    return httpx.AsyncClient(
        transport=Pinned(check),
        timeout=seconds,
        follow_redirects=False,
        trust_env=False,
        cookies=_no_cookies(),
    )


def guarded_client(check: Check, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """Return a client like `pinned_client`'s that goes through the proxies that the environment names."""
    through = {
        pattern: None if proxy is None else Proxied(check, proxy)
        for pattern, proxy in environment_proxies().items()
    }
    return httpx.AsyncClient(
        transport=Pinned(check), mounts=through, timeout=timeout, trust_env=False, cookies=_no_cookies()
    )


def environment_proxies() -> dict[str, str | None]:
    """Read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as httpx does, which does so for its own transports alone.

    Returns:
        For each pattern of URLs, as in httpx's `mounts`, the URL of a proxy; None where there is to be none.
    """
    given = getproxies()
    exempt = [host.strip().lower() for host in given.get("no", "").split(",") if host.strip()]
    if "*" in exempt:
        return {}
    named = {f"{scheme}://": given[scheme] for scheme in _PROXIED_SCHEMES if given.get(scheme)}
    proxies = {pattern: url if "://" in url else f"http://{url}" for pattern, url in named.items()}
    return proxies | {_pattern_of(host): None for host in exempt}


def _pattern_of(host: str) -> str:
    """Write an entry of NO_PROXY as a pattern of httpx's: a name stands for what is under it too."""
    if "://" in host:
        return host
    text = host.strip("[]")
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        return f"all://{host}" if host == "localhost" else f"all://*{host}"
    return f"all://[{text}]" if address.version == 6 else f"all://{text}"


def _asked_of(addresses: Sequence[Address]) -> list[Address]:
    """Choose of a host's addresses those that are asked, in the order in which they were found."""
    found = list(dict.fromkeys(addresses))
    families = ([address for address in found if address.version == version] for version in (4, 6))
    chosen = {address for family in families for address in family[:_MOST_OF_A_FAMILY]}
    return [address for address in found if address in chosen]


def _no_cookies() -> CookieJar:
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


def _at(request: httpx.Request, address: Address, connect_seconds: float | None = None) -> httpx.Request:
    """Return a request to an address, which keeps the name that it and its certificate are known by."""
    extensions = {**request.extensions, "sni_hostname": request.url.host}
    if connect_seconds is not None:
        extensions["timeout"] = {**request.extensions.get("timeout", {}), "connect": connect_seconds}
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )

"""Providers by name, found through the entry point `raypipe.providers`, built-in ones like any other."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from raypipe.errors import UnknownProvider
from raypipe.providers.base import Provider


def provider_names() -> list[str]:
    """Names of all installed providers."""
    return sorted(_installed())


def provider_class(name: str) -> type[Provider]:
    """Find a provider.

    Raises:
        UnknownProvider: No provider of that name is installed.
    """
    try:
        found: type[Provider] = _installed()[name].load()
    except KeyError:
        known = ", ".join(provider_names())
        raise UnknownProvider(f"There is no provider {name!r}. Installed providers: {known}.") from None
    return found


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="raypipe.providers")}

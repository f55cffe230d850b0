"""Providers by name, found through the entry point `raypipe.providers`, built-in ones like any other."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from raypipe.errors import ProviderUnusable, UnknownProvider
from raypipe.providers.base import Provider


def provider_names() -> list[str]:
    """Names of all installed providers."""
    return sorted(_installed())


def provider_class(name: str) -> type[Provider]:
    """Find a provider.

    Raises:
        UnknownProvider: No provider of that name is installed.
        ProviderUnusable: It is installed but cannot be imported.
    """
    point = _installed().get(name)
    if point is None:
        known = ", ".join(provider_names())
        raise UnknownProvider(f"There is no provider {name!r}. Installed providers: {known}.")
    try:
        found: type[Provider] = point.load()
    except (ImportError, AttributeError) as error:
        raise ProviderUnusable(f"The provider {name!r} ({point.value}) cannot be loaded: {error}") from error
    return found


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="raypipe.providers")}

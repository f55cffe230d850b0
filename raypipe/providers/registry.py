"""Providers and models by name. Providers are found through the entry point `raypipe.providers`, built-in ones too."""

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from raypipe.config import Settings, read_secret
from raypipe.errors import ProviderUnusable, UnknownProvider
from raypipe.models import Job, Kind, Spec
from raypipe.providers.base import Model, Provider, options_of, provider_of


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


def model_of(kind: Kind, name: str, options: dict[str, dict[str, Any]]) -> Model:
    """Find a model by its full name.

    Args:
        kind: The kind of work it is to do.
        name: Such as "local" or "replicate/owner/name".
        options: All settings of the video.

    Raises:
        UnknownProvider: No provider of that name is installed.
        UnknownModel: The provider has no such model for that kind of work.
        InvalidRequest: The provider does not take the settings.
        ProviderUnusable: It is installed but cannot be imported.
    """
    provider, own = provider_class(provider_of(name)), options_of(options, kind, name)
    provider.parse_options(own)
    return provider.model(kind, name, own)


def models_of(video: Spec | Job, kind: Kind) -> tuple[Model, ...]:
    """Return the models that a video names for a kind of work, in the order in which they are tried.

    Raises:
        InvalidRequest: As `model_of`.
        ProviderUnusable: As `model_of`.
    """
    return tuple(model_of(kind, name, video.options) for name in video.models[kind])


def known_models(settings: Settings) -> Iterator[tuple[Model, Literal["set", "missing"] | None]]:
    """Return the models of all providers that can be loaded, and whether the key that they need is there."""
    for name in provider_names():
        with suppress(ProviderUnusable):
            provider = provider_class(name)
            key_name = getattr(provider, "key_name", None)
            key: Literal["set", "missing"] | None = None
            if key_name is not None:
                key = "set" if read_secret(key_name, settings) else "missing"
            for model in provider.models():
                price = settings.prices.get(model.name, model.price)
                yield model.model_copy(update={"price": price}), key


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="raypipe.providers")}

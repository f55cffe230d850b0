"""Names of models and ids of jobs as parts of a vendor's URLs: none leads the account's key to another path."""

import re
from urllib.parse import quote

from raypipe.errors import InvalidRequest

_PART = re.compile(r"(?!\.+$)[A-Za-z0-9_.-]+")


def check_model_name(name: str, fewest: int = 1, most: int | None = None) -> None:
    """Check that a model's full name can be part of a URL.

    Args:
        name: Begins with the provider's name.
        fewest: Parts that have to follow that.
        most: Parts that may; None for any number.

    Raises:
        InvalidRequest: It cannot.
    """
    provider, *parts = name.split("/")
    if any(_PART.fullmatch(part) is None for part in parts):
        raise InvalidRequest(
            f"{name:.200} is no name of a model: the parts between its slashes consist of letters, digits, "
            "'.', '_' and '-', and not of dots alone."
        )
    if len(parts) < fewest or (most is not None and len(parts) > most):
        how_many = (
            f"{fewest}" if most == fewest else f"at least {fewest}" if most is None else f"{fewest} to {most}"
        )
        raise InvalidRequest(
            f"{name:.200} is no name of a model of {provider}: {how_many} parts, with slashes between them, follow "
            f"{provider}/."
        )


def url_path(*parts: str) -> str:
    """Return a path of a URL, each part quoted: a slash, a question mark or dots in one do not lead elsewhere."""
    return "".join(f"/{quote(part, safe='') if part.strip('.') else '%2E' * len(part)}" for part in parts)

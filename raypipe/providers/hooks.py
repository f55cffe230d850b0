"""Webhooks of vendors: the address they are sent to names the create, and only we can have written it."""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlencode

from raypipe.errors import WebhookRefused

#: headers of a webhook, by their names in lower case
Headers = Mapping[str, str]


def hook_url(public_url: str, provider: str, token: str, key: str) -> str:
    """Return the address at which a vendor is to say that a create's job is over.

    Args:
        public_url: Where the service is reached from outside.
        provider: Name of the vendor.
        token: Names the create.
        key: The account's key, with which the address is sealed.
    """
    return (
        f"{public_url}/v1/hooks/{provider}?{urlencode({'step': token, 'seal': _seal(provider, token, key)})}"
    )


def check_seal(provider: str, token: str, seal: str, key: str) -> None:
    """Check that an address was written here.

    A vendor signs webhooks to any address that any of its customers names.

    Raises:
        WebhookRefused: It was not.
    """
    if not hmac.compare_digest(_seal(provider, token, key).encode(), seal.encode(errors="replace")):
        raise WebhookRefused("the address of the webhook was not written here")


def _seal(provider: str, token: str, key: str) -> str:
    return hmac.new(key.encode(), f"{provider}\n{token}".encode(errors="replace"), hashlib.sha256).hexdigest()

"""The installation's own secrets, made when they are first needed: files that nobody else may read."""

import hashlib
import hmac
import os
import secrets
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from raypipe.config import Settings
from raypipe.errors import SecretsExposed, unreadable_secrets
from raypipe.private import make_folder

_BYTES = 32


def webhook_secret(settings: Settings, webhook_id: str) -> str:
    """Return what messages to a webhook are signed with, as Standard Webhooks writes it.

    It is derived, so that no table holds it.

    Raises:
        SecretsExposed: Others may read the file that it is derived from.
        SecretsUnreadable: That file cannot be read or made.
        DiskFull: There is no room for that file.
    """
    root = own_file(settings, "webhooks.key", lambda: secrets.token_bytes(_BYTES))
    derived = hmac.new(root, f"webhook/{webhook_id}".encode(), hashlib.sha256).digest()
    return f"whsec_{b64encode(derived).decode()}"


def own_file(settings: Settings, name: str, make: Callable[[], bytes]) -> bytes:
    """Read a file of secrets, or make it: whole or not at all, and of several processes one.

    Raises:
        SecretsExposed: Others may read it.
        SecretsUnreadable: It cannot be read or made.
        DiskFull: There is no room for it.
    """
    folder = settings.data_dir.absolute() / "signing"
    path = folder / name
    try:
        if not path.exists():
            make_folder(folder)
            _put(path, make())
        if path.stat().st_mode & 0o077:
            raise SecretsExposed(f"others may read {path}: chmod 600 it")
        return path.read_bytes()
    except OSError as error:
        raise unreadable_secrets(error, f"{path} cannot be read or made") from error


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(6)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        try:
            path.hardlink_to(part)
        except FileExistsError:  # another process was first
            return
        except OSError:  # a file system without links
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)

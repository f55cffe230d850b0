"""Settings: the only reader of the environment."""

import ipaddress
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from raypipe.errors import SecretsExposed, unreadable_secrets
from raypipe.film_label import FilmLabel, load_font, undrawable
from raypipe.prices import Price


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} names nobody's home") from error


def _expanded_path(place: str) -> str:
    return place if "://" in place or not place else str(_expanded(Path(place)))


_Folder = Annotated[Path, AfterValidator(_expanded)]


_URL_VARIABLE = re.compile(r"RAYPIPE_([A-Z0-9_]+)_URL")


def _provider_urls() -> dict[str, str]:
    found = ((_URL_VARIABLE.fullmatch(name), value) for name, value in os.environ.items())
    named = {match[1].lower(): value for match, value in found if match is not None and value}
    return {name: value for name, value in named.items() if name != "public"}


def _web_address(url: str, variable: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"{variable}: must be an address that begins with http:// or https://, not {url:.80}"
        )
    return url


def _web_addresses(urls: dict[str, str]) -> dict[str, str]:
    return {name: _web_address(url, f"RAYPIPE_{name.upper()}_URL") for name, url in urls.items()}


def _public_address(url: str | None) -> str | None:
    return None if url is None else _web_address(url, "RAYPIPE_PUBLIC_URL").rstrip("/")


def _font_file(path: Path | None) -> Path | None:
    if path is None:
        return None
    path = _expanded(path).absolute()
    load_font(path, 16)
    return path


def _composed(text: str) -> str:
    """Write accents as fonts have them: as one character with its letter."""
    return unicodedata.normalize("NFC", text).strip()


def _drawable(text: str, info: ValidationInfo) -> str:
    if text and "label_font" in info.data:  # else the font is what is wrong
        missing = undrawable(FilmLabel(text, info.data["label_font"]))
        if missing:
            raise ValueError(
                f"is written with {missing}, which its font does not have: name the file of one that does in "
                "RAYPIPE_LABEL_FONT"
            )
    return text


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ValueError(f"{network!r:.60} is no address and no network, as 10.0.0.0/8") from error
    return networks


class Limit(BaseModel):
    """What an account at a provider allows; None: any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: jobs that may be under way at once
    in_flight: int | None = Field(default=None, ge=1)
    #: creates that may be sent in any minute
    per_minute: int | None = Field(default=None, ge=1)


class Settings(BaseSettings):
    """What an installation can be told, as `RAYPIPE_<NAME>`; every setting has a default.

    `RAY_ADDRESS`, Ray's own variable, chooses the cluster; without it raypipe starts Ray on this machine.
    """

    model_config = SettingsConfigDict(
        env_prefix="RAYPIPE_", env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    #: where the journal, the artifacts and the logs live unless told otherwise
    data_dir: _Folder = Path.home() / ".raypipe"
    #: URL of the journal's database; empty: SQLite in the data directory
    journal: str = ""
    #: URL of the artifact store; empty: a folder in the data directory
    artifacts: Annotated[str, AfterValidator(_expanded_path)] = ""
    #: followers that may continue from one reference beat, one after the other
    followers_per_reference: int = Field(default=1, ge=0, le=60)
    #: videos that run at once; more wait as rows in the journal
    active_videos: int = Field(default=500, ge=1)
    #: gateways that share the videos, decided when the journal is first used; empty: 2, where there are 2 CPUs
    gateways: int | None = Field(default=None, ge=1, le=64)
    #: what becomes of a paid create whose outcome nobody knows: wait for the provider and then fail, or send it again
    on_unknown: Literal["hold", "resubmit_once"] = "hold"
    #: what accounts at providers allow, by the providers' names
    limits: dict[str, Limit] = Field(default_factory=dict)
    #: where videos stop for approval that do not say so themselves: when their storyboard is made
    until: Literal["storyboard"] | None = None
    #: US dollars that may be spent a day, which begins at midnight UTC; empty: any
    daily_budget: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    #: what models cost, by their full names, where the vendors' lists do not say it or somebody pays another price
    prices: dict[str, Price] = Field(default_factory=dict)
    #: whether requests over HTTP may say what a model costs whose price is not known
    trust_prices: bool = False
    #: where providers' APIs are, by their names, if not where they usually are: RAYPIPE_<NAME>_URL
    provider_urls: Annotated[dict[str, str], AfterValidator(_web_addresses)] = Field(
        default_factory=_provider_urls
    )
    #: where vendors reach this service from outside, as https://video.example.org: then they say when a job is over
    public_url: Annotated[str | None, AfterValidator(_public_address)] = None
    #: names under which this service is reached, besides addresses, localhost and the machine's own name
    hosts: tuple[str, ...] = ()
    #: addresses and networks of proxies whose X-Forwarded-For says who calls; what others send there counts for nothing
    trusted_proxies: Annotated[tuple[str, ...], AfterValidator(_networks)] = ()
    #: requests, event streams among them, that one key may have under way at once, or one address where there is no key
    requests_per_caller: int = Field(default=500, ge=1, le=2_000)
    #: port at which the Ray that raypipe starts gives metrics to Prometheus; empty: a free one
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    #: file in which the simulated provider notes every create
    simulated_ledger: Path | None = None
    #: whether callers on this machine need a key too, as where a proxy passes on what comes from elsewhere; empty: if
    #: there is a public URL
    require_keys: bool | None = None
    #: whether webhooks and pictures may be at addresses inside our own network, and at http://
    allow_private_urls: bool = False
    #: file of the font that labels are drawn with, TrueType or OpenType, on every machine; empty: Open Sans
    label_font: Annotated[Path | None, AfterValidator(_font_file)] = None
    #: text that is seen in the lower right corner of films; empty: none
    film_label: Annotated[str, AfterValidator(_composed), AfterValidator(_drawable)] = Field(
        default="", max_length=60, pattern=r"^[^\x00-\x1f\x7f]*$"
    )
    #: whether films say in themselves, for machines, by which models they were made
    mark_films: bool = True
    #: videos that may wait for a place; more are refused over HTTP until there are fewer
    max_queued: int = Field(default=5_000, ge=1)
    #: MiB that must be free where the artifacts are for a new video to be taken
    min_free_mib: int = Field(default=200, ge=0)
    #: largest HTTP request body in bytes
    max_body_bytes: int = Field(default=32 * 2**20, ge=1)
    #: address of the Ray cluster, or "local" to start one
    ray_address: str = Field(default="local", validation_alias="RAY_ADDRESS")

    @property
    def label(self) -> FilmLabel | None:
        """What is seen in the corner of films."""
        return FilmLabel(self.film_label, self.label_font) if self.film_label else None

    @property
    def keys_required(self) -> bool:
        """Whether every caller needs a key."""
        return self.public_url is not None if self.require_keys is None else self.require_keys

    @property
    def journal_url(self) -> str:
        """URL of the journal's database."""
        return self.journal or "sqlite:///" + quote(str(self.data_dir.absolute() / "journal.db"))

    @property
    def artifacts_url(self) -> str:
        """URL of the artifact store."""
        if "://" in self.artifacts:
            return self.artifacts
        folder = Path(self.artifacts) if self.artifacts else self.data_dir / "artifacts"
        return folder.absolute().as_uri()

    @property
    def secrets_file(self) -> Path:
        """File of keys, a line NAME=value each, for processes whose environment has none."""
        return self.data_dir.absolute() / "secrets"

    @property
    def log_dir(self) -> Path:
        """Folder of raypipe's own log files."""
        return self.data_dir.absolute() / "logs"

    @property
    def download_dir(self) -> Path:
        """Folder of copies of artifacts that are being sent, where the store is no folder."""
        return self.data_dir.absolute() / "downloads"


#: says in Ray's environment how often it tries work again whose process it ended because memory ran out
MEMORY_TRIES = "RAY_task_oom_retries"


def bound_memory_tries() -> None:
    """Have the Ray that this process starts try such work twice more; by default it would for ever."""
    os.environ.setdefault(MEMORY_TRIES, "2")


#: says in Ray's environment how many seconds its GCS gets to start
_GCS_SECONDS = "RAY_gcs_server_port_wait_time_s"
#: how long the processes of a Ray of our own wait for each other: a busy machine is no reason to give up
_RAYS_PATIENCE = {
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_raylet_start_wait_time_s": "120",
    _GCS_SECONDS: "120",
    "RAY_py_gcs_connect_timeout_s": "120",
}


def prepare_local_ray(loopback: bool) -> None:
    """Have the Ray that this process starts be patient and ours alone; call it before Ray is imported.

    Args:
        loopback: Whether it is reached from this machine only.
    """
    bound_memory_tries()
    for name, value in _RAYS_PATIENCE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if loopback:  # where Ray has one machine, as on Windows, it takes the loopback address for its own
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # else Ray makes a token in a file of the home, which others may read, and which may not be there to write to
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def gcs_seconds() -> float:
    """Return how long the GCS of a Ray that this process starts may take to start."""
    return float(os.environ.get(_GCS_SECONDS, _RAYS_PATIENCE[_GCS_SECONDS]))


@contextmanager
def in_environment(name: str, value: str) -> Iterator[None]:
    """Have the processes that are started meanwhile, and theirs, find a variable in their environment."""
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def guard_serve() -> None:
    """Have the Serve that this process starts wrap its proxies in what `raypipe.api.proxy` has for them.

    It looks each second whether they live: one that died is noticed at the third look, and by default looks are ten
    seconds apart.
    """
    os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "raypipe.api.proxy.in_proxy")
    os.environ.setdefault("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "1")


def trust_proxies(settings: Settings) -> None:
    """Have uvicorn in this process take callers' addresses from the proxies that the settings name, and no others.

    By default it believes every process on this machine, so that any could be as many callers as it likes.
    """
    os.environ["FORWARDED_ALLOW_IPS"] = ",".join(settings.trusted_proxies)


def put_answers_first() -> None:
    """Have the Ray that this process starts give its workers its own priority; what makes videos takes a lower one."""
    os.environ.setdefault("RAY_worker_niceness", "0")


def memory_tries_are_bounded() -> bool:
    """Tell whether Ray does not try such work for ever, in this process's cluster."""
    return os.environ.get(MEMORY_TRIES, "-1") != "-1"


def read_secret(name: str, settings: Settings) -> str | None:
    """Read a key where it is needed, from the environment or the file of secrets; it is never part of the settings.

    Raises:
        SecretsExposed: Others may read the file.
        SecretsUnreadable: It cannot be read.
        TooManyFiles: No file can be opened for now.
    """
    if found := os.environ.get(name, "").strip():
        return found
    try:
        with settings.secrets_file.open(encoding="utf-8-sig", errors="replace") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SecretsExposed(f"others may read {settings.secrets_file}: chmod 600 it")
            pairs = (line.split("=", 1) for line in file if "=" in line and not line.startswith("#"))
            lines = {key.strip().removeprefix("export "): value.strip() for key, value in pairs}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable_secrets(error, f"the secrets in {settings.secrets_file} cannot be read") from error
    return lines.get(name, "").strip("\"'") or None

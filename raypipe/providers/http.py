"""What all providers share that are reached over HTTP: keys, errors, retries, polling and downloads.

Everything but a create is asked again, with back-off, where the vendor or the connection fails for the moment. A create
is sent once: whether one that was not answered has been taken is `raypipe.hosted`'s question.
"""

import asyncio
import json
import re
import time
from abc import abstractmethod
from collections.abc import Container
from functools import partial
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

import httpx
import stamina

from raypipe.config import read_secret
from raypipe.errors import (
    DeliveryNotFetched,
    KeyMissing,
    KeyRefused,
    NoSuchModel,
    OutcomeUnknown,
    OutOfFunds,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RaypipeError,
    WebhookRefused,
    resource_error,
)
from raypipe.models import Artifact
from raypipe.providers.answers import (
    decoded_headers,
    explained,
    origin_of,
    retry_after,
    sent_to,
    status_of,
    words_of,
)
from raypipe.providers.base import (
    Context,
    Create,
    Delivery,
    Pending,
    Work,
)
from raypipe.providers.deliveries import Deliveries, DeliveryMissing
from raypipe.providers.hooks import Headers, check_seal, hook_url
from raypipe.providers.outcomes import JobOutcomes

#: seconds that an answer may take to begin, and each further part of it
ANSWER_SECONDS, PART_SECONDS = 60.0, 30.0
#: seconds that may be spent before a create, for uploads and questions
PREPARE_SECONDS = 45.0
#: how often a question is asked before the provider counts as unavailable
ATTEMPTS = 4
#: seconds between two polls: at first, at most
POLL_AFTER, MOST_POLL_AFTER = 1.0, 10.0
#: at most where the vendor says by a webhook that a job is over, which may get lost
HOOKED_POLL_AFTER = 30.0
#: seconds after which a delivery that is not there is believed to be gone
GONE_SECONDS = 300.0
#: largest answer that is no delivery, in bytes
MOST_ANSWER_BYTES = 8 * 2**20
#: what vendors say of an empty account, whatever the status
_NO_FUNDS = ("exhausted balance", "insufficient credit", "insufficient balance", "insufficient funds")
_KEY = re.compile(r"[\x21-\x7e]+")


class _TooLong(Exception):
    """An answer that is longer than any should be."""


class Made(NamedTuple):
    """Where the vendor has put what it made."""

    url: str
    #: US dollars, if the vendor says; None leaves the model's price
    cost: float | None = None


class HttpProvider(JobOutcomes):
    """A vendor's API. A subclass says where it is, what models it has, how it is asked and how its answers are read."""

    #: where the API is; the setting RAYPIPE_<NAME>_URL is asked first
    base_url: ClassVar[str]
    #: name of the key, in the environment of the gateways or in the file of secrets
    key_name: ClassVar[str]
    create_seconds: ClassVar[float] = 120.0
    #: it is the client that notices when a delivery stalls
    poll_seconds: ClassVar[float] = 3_600.0
    #: whether it can say by a webhook that a job is over
    sends_hooks: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._hooks_to = context.settings.public_url if self.sends_hooks else None
        self._base = context.settings.provider_urls.get(self.name, self.base_url).rstrip("/")
        timeout = httpx.Timeout(PART_SECONDS, read=ANSWER_SECONDS, pool=None)
        self._client = httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=None))
        is_set = self.name in context.settings.provider_urls
        host = urlsplit(self._base).hostname if is_set else None
        self._deliveries = Deliveries(self.name, host, context.store)
        #: when each job was first asked for, so that one which takes long is asked for less often
        self._asked: dict[str, float] = {}
        #: as it was sent last: no answer is quoted with it
        self._last_key: str | None = None
        #: when each delivery was first found missing
        self._missed: dict[str, float] = {}

    @abstractmethod
    def authorization(self, key: str) -> str:
        """Return the value of the Authorization header."""

    @abstractmethod
    async def create(self, work: Work) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of the request that creates a job for the work."""

    @abstractmethod
    def job_id(self, answer: dict[str, Any]) -> str:
        """Read the job's id in the answer to a create."""

    @abstractmethod
    async def made(self, job_id: str, work: Work) -> Made | None:
        """Ask for a job; None if it is under way.

        Raises:
            ProviderRejected: It failed for good.
            ProviderUnavailable: The provider could not be asked.
        """

    def with_hook(self, path: str, body: dict[str, Any], address: str) -> tuple[str, dict[str, Any]]:
        """Return the request of a create that asks for a webhook to an address; a vendor without leaves it as it is."""
        return path, body

    async def check_signature(self, headers: Headers, body: bytes) -> None:
        """Check that a webhook is the vendor's.

        Raises:
            WebhookRefused: It is not, or it is old, or the vendor sends none.
            ProviderError: The vendor could not be asked for what it signs with.
        """
        raise WebhookRefused(f"{self.name} sends no webhooks")

    async def job_of_hook(self, token: str, seal: str, headers: Headers, body: bytes) -> str:
        """Return the id of the job that a webhook is about, once it is sure who has sent it.

        Args:
            token: Names the create, as the webhook's address does.
            seal: Of that address.
            headers: The webhook's, by their names in lower case.
            body: The webhook's.

        Raises:
            WebhookRefused: It is not sure.
            ProviderError: There is no key, or the vendor could not be asked for what it signs with.
        """
        if not self.sends_hooks:
            raise WebhookRefused(f"{self.name} sends no webhooks")
        check_seal(self.name, token, seal, self._key())
        await self.check_signature(headers, body)
        try:
            return self._named_job(json.loads(body))
        except (ValueError, LookupError, TypeError) as error:
            raise WebhookRefused(f"the webhook of {self.name} names no job") from error

    async def prepare(self, work: Work) -> Create:
        """Upload what the work needs, and return what creates its job, within a time of its own."""
        return partial(self._send, work, *await self._prepared(work))

    async def submit(self, work: Work, token: str) -> str:
        """Create a job, once."""
        return await (await self.prepare(work))(token)

    async def _send(
        self, work: Work, path: str, body: dict[str, Any], headers: dict[str, str], token: str
    ) -> str:
        """Send the one request that creates a job."""
        if self._hooks_to is not None:
            path, body = self.with_hook(path, body, hook_url(self._hooks_to, self.name, token, self._key()))
        answer = await self._created(work, path, body, headers)
        try:
            return self._named_job(self._read(answer, "the create"))
        except (ProviderRejected, LookupError, TypeError) as error:
            if answer.is_error:
                raise
            # it may well have been taken
            raise OutcomeUnknown(f"{self.name} answered the create with something else: {error}") from error

    async def _created(
        self, work: Work, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> httpx.Response:
        """Send a create, and return its answer if that says whether it was taken."""
        try:
            answer = await self._once("POST", path, json=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise ProviderUnavailable(f"{self.name} cannot be reached: {words_of(error)}") from error
        except (httpx.HTTPError, _TooLong) as error:
            raise OutcomeUnknown(f"{self.name} did not answer the create: {words_of(error)}") from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise OutcomeUnknown(f"{self.name} answered the create with {status_of(answer)}")
        if (
            answer.status_code == httpx.codes.SEE_OTHER
        ):  # by RFC 9110 it has been taken, and something is to be seen
            raise OutcomeUnknown(f"{self.name} answered the create with 303, to be seen at {sent_to(answer)}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise self._no_such_model(self.model_name(work), answer)
        return answer

    def _no_such_model(self, model: str, answer: httpx.Response) -> NoSuchModel:
        return NoSuchModel(
            f"{self.name} has no model {model}, or none for this key (404): {self._words(answer)}"
        )

    def _named_job(self, answer: dict[str, Any]) -> str:
        """Return the id of the job that an answer or a webhook is about.

        Raises:
            LookupError: It names none.
        """
        job_id = self.job_id(answer)
        if not job_id.strip(".") or job_id == "None":
            raise LookupError("it names no job")
        return job_id

    async def _prepared(self, work: Work) -> tuple[str, dict[str, Any], dict[str, str]]:
        """Return what to send, within a time of its own: whatever goes wrong here, nothing was sent."""
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                path, body = await self.create(work)
            return path, body, self._headers(path)
        except RaypipeError:
            raise
        except TimeoutError as error:
            said = f"what {self.name} needs for a create was not ready within {PREPARE_SECONDS:g} s"
            raise ProviderUnavailable(said) from error
        except Exception as error:
            if (want := resource_error(error, f"nothing was sent to {self.name}")) is not None:
                raise ProviderUnavailable(str(want)) from error
            said = f"{type(error).__name__}: {error}"
            raise ProviderRejected(f"nothing was sent to {self.name}, because of {said}") from error

    async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
        """Ask for a job, and store what it made."""
        try:
            made = await self.made(job_id, work)
            if made is None:
                return self._pending(job_id)
            artifact = await self._fetched(made.url, job_id, work)
        except ProviderUnavailable:  # it is asked for again
            raise
        except RaypipeError:
            self._forget(job_id)
            raise
        self._forget(job_id)
        return Delivery(artifact=artifact, cost=made.cost)

    def _pending(self, job_id: str) -> Pending:
        """Say when to ask again for a job that is under way: the longer it is, the later."""
        age = time.monotonic() - self._asked.setdefault(job_id, time.monotonic())
        most = MOST_POLL_AFTER if self._hooks_to is None else HOOKED_POLL_AFTER
        return Pending(poll_after=min(most, POLL_AFTER + age / 10))

    def _forget(self, job_id: str) -> None:
        self._asked.pop(job_id, None)
        self._missed.pop(job_id, None)

    async def _fetched(self, url: str, job_id: str, work: Work) -> Artifact:
        try:
            return await self._deliveries.fetch(url, work.kind, self._headers)
        except DeliveryNotFetched as error:
            raise self.not_fetched(job_id, str(error)) from error
        except DeliveryMissing as error:
            since = self._missed.setdefault(job_id, time.monotonic())
            if time.monotonic() - since > GONE_SECONDS:
                raise self.expired(job_id, str(error)) from error
            raise

    async def ask(
        self,
        method: str,
        path: str,
        about: str = "the request",
        model: str | None = None,
        final: Container[int] = (),
        **arguments: Any,
    ) -> dict[str, Any]:
        """Send a request that may be sent again, and return the JSON object of its answer.

        Args:
            method: GET, POST and so on.
            path: From where the API is, or a whole address.
            about: What is asked or sent, in the words of an error.
            model: The model whose page is asked for, of which 404 says that there is none. Other GETs are of jobs,
                which are paid: whatever is wrong with one answer, they are asked again.
            final: Statuses with which the vendor says what became of a job, so that they are not asked again.
            arguments: As httpx takes them.

        Raises:
            ProviderUnavailable: The vendor could not be reached, sends elsewhere, or cannot for the moment.
            ProviderRejected: It refuses, or answers with something else.
            KeyMissing: There is no key.
            KeyRefused: The vendor does not take it.
            OutOfFunds: The account is empty.
        """
        for attempt in stamina.retry_context(on=_backoff, attempts=ATTEMPTS, timeout=None):
            with attempt:
                answer = await self._reached(method, path, **arguments)
                if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                    raise ProviderUnavailable(f"{self.name} answered {about} with {status_of(answer)}")
                if answer.status_code == httpx.codes.NOT_FOUND and model is not None:
                    raise self._no_such_model(model, answer)
                try:
                    return self._read(answer, about)
                except ProviderRejected as error:
                    # of a job that is paid no single bad answer is the last word
                    if method == "GET" and model is None and answer.status_code not in final:
                        raise ProviderUnavailable(str(error)) from error
                    raise
        raise AssertionError("unreachable")

    async def _reached(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return await self._once(method, path, headers=self._headers(path), **arguments)
        except httpx.HTTPError as error:
            raise ProviderUnavailable(f"{self.name} cannot be reached: {words_of(error)}") from error
        except _TooLong as error:
            raise ProviderUnavailable(str(error)) from error

    async def _once(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async with self._client.stream(method, self._url(path), **arguments) as answer:
            body = b""
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > MOST_ANSWER_BYTES:
                    raise _TooLong(f"{self.name} answered with more than {MOST_ANSWER_BYTES} bytes")
        return httpx.Response(answer.status_code, headers=decoded_headers(answer.headers), content=body)

    def _url(self, path: str) -> str:
        return path if "://" in path else f"{self._base}{path}"

    def _headers(self, path: str) -> dict[str, str]:
        """The key goes to the vendor's own API, and to no address that an answer names."""
        if origin_of(self._url(path)) != origin_of(self._base):
            return {}
        return {"Authorization": self.authorization(self._key())}

    def check_key(self) -> None:
        """Check that there is a key."""
        self._key()

    def _key(self) -> str:
        try:
            key = self._last_key = read_secret(self.key_name, self.context.settings)
        except RaypipeError as error:
            if error.retryable:  # nothing was asked for want of a key, and may be later
                raise ProviderUnavailable(str(error)) from error
            raise
        if key is None:
            raise KeyMissing(
                f"there is no key for {self.name}: set {self.key_name} where raypipe runs, or write a line "
                f"{self.key_name}=... to {self.context.settings.secrets_file} (mode 0600)"
            )
        if _KEY.fullmatch(key) is None:
            raise KeyRefused(f"what stands in {self.key_name} is no key: it has blanks or other signs in it")
        return key

    def _read(self, answer: httpx.Response, about: str) -> dict[str, Any]:
        """Return the JSON object of an answer, or raise what its status means."""
        said = self._words(answer)
        if answer.status_code >= httpx.codes.MULTIPLE_CHOICES:
            raise self._error_of(answer, about, said)
        try:
            body = answer.json()
        except ValueError as error:
            raise ProviderRejected(f"{self.name} answered with something that is no JSON: {said}") from error
        if not isinstance(body, dict):
            raise ProviderRejected(f"{self.name} answered with JSON that is no object: {said}")
        return body

    def _error_of(self, answer: httpx.Response, about: str, said: str) -> ProviderError:
        """Name the error that an answer of 3xx or 4xx means."""
        match answer.status_code:
            case status if status < httpx.codes.BAD_REQUEST:
                return ProviderUnavailable(
                    f"{self.name} sends {about} on ({status}) to {sent_to(answer)} and has not taken it; the key does "
                    f"not follow: if the API is there now, set RAYPIPE_{self.name.upper()}_URL"
                )
            case 401 | 403 | 402 if any(words in said.lower() for words in _NO_FUNDS):
                return OutOfFunds(f"the account at {self.name} has no funds left: {said}")
            case 401 | 403:
                return KeyRefused(f"{self.name} does not take the key in {self.key_name}: {said}")
            case 402:
                return OutOfFunds(f"the account at {self.name} has no funds left: {said}")
            case 408 | 425 | 429:
                return RateLimited(f"{self.name} asks to wait: {said}", retry_after(answer.headers))
        return self.refusal(answer, about, said)

    def refusal(self, answer: httpx.Response, about: str, said: str) -> ProviderRejected:
        """Name an answer of 4xx that all vendors do not share."""
        return ProviderRejected(f"{self.name} refuses {about} ({answer.status_code}): {said}")

    def _words(self, answer: httpx.Response) -> str:
        """Quote what a vendor says, without the key."""
        return explained(answer).replace(self._last_key or "\0", "...")


def _backoff(error: Exception) -> bool | float:
    """Tell stamina whether to ask again, and after how many seconds if the vendor says so."""
    if isinstance(error, RateLimited) and error.retry_after is not None:
        return error.retry_after
    return isinstance(error, ProviderUnavailable)

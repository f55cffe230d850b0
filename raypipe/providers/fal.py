"""fal: its queue, https://docs.fal.ai/model-endpoints/queue."""

import base64
import hashlib
import time
from contextlib import suppress
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from raypipe.errors import ContentRefused, InvalidRequest, ProviderRejected, WebhookRefused
from raypipe.models import Kind
from raypipe.prices import Effect
from raypipe.providers.answers import ending_of
from raypipe.providers.base import Price, Work
from raypipe.providers.hooks import Headers
from raypipe.providers.http import HttpProvider, Made
from raypipe.providers.inputs import Word
from raypipe.providers.known import Known
from raypipe.providers.paths import check_model_name, url_path

PRICED = "2026-11-23"
#: where fal publishes what webhooks are signed with; the setting RAYPIPE_FAL_KEYS_URL is asked first
KEYS_URL = "https://rest.fal.ai/.well-known/jwks.json"
#: seconds by which a webhook may be old
HOOK_SECONDS = 300
#: statuses of a result that say that the request failed, for what it asked
_FAILED = (httpx.codes.UNPROCESSABLE_ENTITY,)


_FROM_PICTURE: dict[str, Word] = {"prompt": "prompt", "image_url": "start_image", "duration": "seconds_text"}


#: inputs of flux that leave the price of an image alone, and the number of images
_FLUX_INPUTS: dict[str, Effect] = dict.fromkeys(
    ("num_inference_steps", "guidance_scale", "output_format", "enable_safety_checker"), "none"
)
_FLUX_INPUTS |= {"num_images": "times"}


def _price(usd: float, per: Literal["run", "second", "megapixel"], inputs: dict[str, Effect]) -> Price:
    return Price(usd=usd, per=per, as_of=PRICED, inputs=inputs)


class FalProvider(HttpProvider):
    """Models hosted by fal."""

    name: ClassVar[str] = "fal"
    base_url: ClassVar[str] = "https://queue.fal.run"
    key_name: ClassVar[str] = "FAL_KEY"
    sends_hooks: ClassVar[bool] = True
    #: with whose private halves webhooks are signed, once they are known
    _hook_keys: tuple[Ed25519PublicKey, ...] = ()
    known: ClassVar[dict[str, Known]] = {
        "fal-ai/flux/schnell": Known(
            Kind.IMAGE,
            _price(0.003, "megapixel", _FLUX_INPUTS),
            {"prompt": "prompt", "image_size": "size", "seed": "seed"},
        ),
        "fal-ai/minimax/hailuo-02/standard/image-to-video": Known(
            Kind.CLIP,
            _price(0.045, "second", {"resolution": {"768p": 1}, "prompt_optimizer": "none"}),
            _FROM_PICTURE,
            (6, 10),
        ),
        "fal-ai/kling-video/v2.1/standard/image-to-video": Known(
            Kind.CLIP,
            _price(0.05, "second", {"negative_prompt": "none", "cfg_scale": "none"}),
            _FROM_PICTURE,
            (5, 10),
        ),
        "fal-ai/stable-audio": Known(
            Kind.MUSIC, _price(0.02, "run", {}), {"prompt": "prompt", "seconds_total": "seconds"}, (47,)
        ),
    }

    @classmethod
    def check_name(cls, name: str) -> None:
        """Refuse names that are no application of fal's: what follows `requests` is the path of somebody's request."""
        check_model_name(name, fewest=2)
        if "requests" in name.split("/"):
            raise InvalidRequest(
                f"{name:.200} is no name of a model: what stands behind `requests` at fal is a job."
            )

    def authorization(self, key: str) -> str:
        """Return the value of the Authorization header."""
        return f"Key {key}"

    async def create(self, work: Work) -> tuple[str, dict[str, Any]]:
        """Put a request into the model's queue."""
        return url_path(*self.model_name(work).split("/")), await self.inputs(work)

    def with_hook(self, path: str, body: dict[str, Any], address: str) -> tuple[str, dict[str, Any]]:
        """Have a webhook sent when the request is over."""
        return f"{path}?{urlencode({'fal_webhook': address})}", body

    async def check_signature(self, headers: Headers, body: bytes) -> None:
        """Check a webhook's signature (https://docs.fal.ai/model-endpoints/webhooks)."""
        names = ("request-id", "user-id", "timestamp", "signature")
        request, user, timestamp, signature = (headers.get(f"x-fal-webhook-{name}", "") for name in names)
        signed = "\n".join((request, user, timestamp, hashlib.sha256(body).hexdigest())).encode()
        if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > HOOK_SECONDS:
            raise WebhookRefused("the webhook is not of now")
        for key in await self._public_keys():
            with suppress(InvalidSignature, ValueError):
                return key.verify(bytes.fromhex(signature), signed)
        self._hook_keys = ()  # they may have been changed
        raise WebhookRefused("the webhook is not fal's")

    async def _public_keys(self) -> tuple[Ed25519PublicKey, ...]:
        """Return the keys that fal publishes (RFC 8037), once they are known."""
        if not self._hook_keys:
            address = self.context.settings.provider_urls.get("fal_keys", KEYS_URL)
            found = (await self.ask("GET", address))["keys"]
            raw = (base64.urlsafe_b64decode(each["x"] + "==") for each in found if each.get("kty") == "OKP")
            self._hook_keys = tuple(map(Ed25519PublicKey.from_public_bytes, raw))
        return self._hook_keys

    def job_id(self, answer: dict[str, Any]) -> str:
        """Read the request's id."""
        return str(answer["request_id"])

    async def made(self, job_id: str, work: Work) -> Made | None:
        """Read a request's status, and its result once it has one."""
        status = await self.ask("GET", f"{_request(work, job_id)}/status")
        ending = ending_of(status.get("status"))
        if ending is None:
            return None
        if ending == "failed" or status.get("error"):
            raise self.failure(job_id, status["status"], status.get("error"))
        result = await self.ask("GET", _request(work, job_id), final=_FAILED)
        return Made(self.file_of(job_id, work, result))

    def refusal(self, answer: httpx.Response, about: str, said: str) -> ProviderRejected:
        """Tell what the content filter refused from other refusals."""
        kind = ContentRefused if "content_policy" in answer.text else ProviderRejected
        return kind(f"{self.name} refuses {about} ({answer.status_code}): {said}")

    async def cancel(self, job_id: str, work: Work) -> None:
        """Have the request taken out of the queue."""
        await self.ask("PUT", f"{_request(work, job_id)}/cancel")


def _request(work: Work, job_id: str) -> str:
    """Return a request's path: it belongs to the application, the first two parts of the model's name."""
    application = work.model.removeprefix("fal/").split("/")[:2]
    return url_path(*application, "requests", job_id)

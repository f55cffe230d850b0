"""Replicate: https://replicate.com/docs/reference/http."""

from typing import Any, ClassVar

from standardwebhooks import Webhook, WebhookVerificationError

from raypipe.data_uris import data_uri
from raypipe.errors import ProviderRejected, WebhookRefused
from raypipe.models import Artifact, Kind
from raypipe.providers.base import Price, Work
from raypipe.providers.hooks import Headers
from raypipe.providers.http import HttpProvider, Made
from raypipe.providers.inputs import Word
from raypipe.providers.known import Known

#: largest picture that is sent within the request; larger ones are uploaded first
INLINE_BYTES = 256 * 2**10
PRICED = "2026-11-23"


_FLUX: dict[str, Word] = {"prompt": "prompt", "aspect_ratio": "aspect_ratio", "seed": "seed"}


def _run(usd: float) -> Price:
    return Price(usd=usd, per="run", as_of=PRICED)


def _second(usd: float) -> Price:
    return Price(usd=usd, per="second", as_of=PRICED)


class ReplicateProvider(HttpProvider):
    """Models hosted by Replicate."""

    name: ClassVar[str] = "replicate"
    base_url: ClassVar[str] = "https://api.replicate.com/v1"
    key_name: ClassVar[str] = "REPLICATE_API_TOKEN"
    sends_hooks: ClassVar[bool] = True
    #: what webhooks are signed with, once it is known
    _hook_secret: str | None = None
    known: ClassVar[dict[str, Known]] = {
        "black-forest-labs/flux-schnell": Known(Kind.IMAGE, _run(0.003), _FLUX, fixed={"output_format": "png"}),
        "black-forest-labs/flux-dev": Known(Kind.IMAGE, _run(0.025), _FLUX, fixed={"output_format": "png"}),
        "black-forest-labs/flux-kontext-pro": Known(
            Kind.IMAGE, _run(0.04), _FLUX | {"input_image": "reference"},
            references=1, fixed={"output_format": "png"},
        ),
        "google/nano-banana": Known(
            Kind.IMAGE, _run(0.039),
            {"prompt": "prompt", "aspect_ratio": "aspect_ratio", "image_input": "references"},
            references=8, fixed={"output_format": "png"},
        ),
        "minimax/hailuo-02": Known(
            Kind.CLIP, _second(0.045),
            {"prompt": "prompt", "first_frame_image": "start_image", "duration": "seconds"}, (6, 10),
        ),
        "kwaivgi/kling-v2.1": Known(
            Kind.CLIP, _second(0.05),
            {"prompt": "prompt", "start_image": "start_image", "duration": "seconds"}, (5, 10),
        ),
        "bytedance/seedance-1-lite": Known(
            Kind.CLIP, _second(0.036),
            {"prompt": "prompt", "image": "start_image", "duration": "seconds", "seed": "seed"}, (5, 10),
        ),
        "google/veo-3-fast": Known(
            Kind.CLIP, _second(0.15),
            {"prompt": "prompt", "image": "start_image", "duration": "seconds", "aspect_ratio": "aspect_ratio"},
            (4, 6, 8), sound=True, fixed={"generate_audio": True},
        ),
        "meta/musicgen": Known(
            Kind.MUSIC, _run(0.15),
            {"prompt": "prompt", "duration": "seconds"}, (30,), fixed={"output_format": "wav"},
        ),
    }  # fmt: skip

    def authorization(self, key: str) -> str:
        """Return the value of the Authorization header."""
        return f"Bearer {key}"

    async def create(self, work: Work) -> tuple[str, dict[str, Any]]:
        """Have the newest version of the model make a prediction."""
        body, name = {"input": await self.inputs(work)}, self.model_name(work)
        version = await self._version(name)
        if version is None:
            return f"/models/{name}/predictions", body
        return "/predictions", {"version": version, **body}

    def with_hook(self, path: str, body: dict[str, Any], address: str) -> tuple[str, dict[str, Any]]:
        """Have a webhook sent when the prediction is over."""
        return path, {**body, "webhook": address, "webhook_events_filter": ["completed"]}

    async def check_signature(self, headers: Headers, body: bytes) -> None:
        """Check a webhook's signature (https://replicate.com/docs/topics/webhooks/verify-webhook)."""
        try:
            Webhook(await self._secret()).verify(body, dict(headers))
        except (WebhookVerificationError, ValueError) as error:
            self._hook_secret = None  # it may have been changed
            raise WebhookRefused(f"the webhook is not replicate's: {error}") from error

    async def _secret(self) -> str:
        if self._hook_secret is None:
            self._hook_secret = str((await self.ask("GET", "/webhooks/default/secret"))["key"])
        return self._hook_secret

    def job_id(self, answer: dict[str, Any]) -> str:
        """Read the prediction's id."""
        return str(answer["id"])

    async def made(self, job_id: str, work: Work) -> Made | None:
        """Read a prediction: its output is the address of a file, or a list of them."""
        prediction = await self.ask("GET", f"/predictions/{job_id}")
        status = prediction.get("status")
        if status in ("starting", "processing", "queued"):
            return None
        if status != "succeeded":
            raise ProviderRejected(
                f"replicate says that the prediction {job_id} is {status}: {prediction.get('error')}"
            )
        if prediction.get("data_removed"):
            raise self.expired(job_id, "its data is removed")
        output = prediction.get("output")
        url = output[0] if isinstance(output, list) and output else output
        if not isinstance(url, str):
            raise ProviderRejected(f"the prediction {job_id} succeeded, but its output is {output!r:.100}")
        return Made(url)

    async def cancel(self, job_id: str, work: Work) -> None:
        """Have the prediction stopped."""
        await self.ask("POST", f"/predictions/{job_id}/cancel")

    async def _version(self, name: str) -> str | None:
        """Return a model's newest version; None for official models, which are run without."""
        about = await self.ask("GET", f"/models/{name}")
        if about.get("is_official"):
            return None
        newest = about.get("latest_version")
        if not isinstance(newest, dict) or not newest.get("id"):
            raise ProviderRejected(f"the model {name} at replicate has no version that can be run")
        return str(newest["id"])

    async def picture(self, artifact: Artifact) -> str:
        """Return a small picture as a data: URI, and of a larger one the address at which it was uploaded."""
        picture = await self.picture_bytes(artifact)
        if len(picture.data) <= INLINE_BYTES:
            return data_uri(*picture)
        uploaded = await self.ask("POST", "/files", files={"content": ("start", *picture)})
        return str(uploaded["urls"]["get"])

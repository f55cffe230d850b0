"""Replicate: https://replicate.com/docs/reference/http."""

from typing import Any, ClassVar

from standardwebhooks import Webhook, WebhookVerificationError

from raypipe.data_uris import data_uri
from raypipe.errors import ProviderRejected, WebhookRefused
from raypipe.models import Artifact, Kind
from raypipe.prices import Effect
from raypipe.providers.answers import ending_of
from raypipe.providers.base import Price, Work
from raypipe.providers.hooks import Headers
from raypipe.providers.http import HttpProvider, Made
from raypipe.providers.inputs import Word
from raypipe.providers.known import Known
from raypipe.providers.paths import check_model_name, url_path

#: largest picture that is sent within the request; larger ones are uploaded first
INLINE_BYTES = 256 * 2**10
PRICED = "2026-11-23"


_FLUX: dict[str, Word] = {"prompt": "prompt", "aspect_ratio": "aspect_ratio", "seed": "seed"}


#: inputs of the models of Black Forest Labs that leave the price of an image alone, and the number of images
_FLUX_INPUTS: dict[str, Effect] = dict.fromkeys(
    (
        "output_format",
        "output_quality",
        "num_inference_steps",
        "guidance",
        "go_fast",
        "disable_safety_checker",
    ),
    "none",
)
_FLUX_INPUTS |= {"num_outputs": "times"}


def _run(usd: float, inputs: dict[str, Effect]) -> Price:
    return Price(usd=usd, per="run", as_of=PRICED, inputs=inputs)


def _second(usd: float, inputs: dict[str, Effect]) -> Price:
    return Price(usd=usd, per="second", as_of=PRICED, inputs=inputs)


class ReplicateProvider(HttpProvider):
    """Models hosted by Replicate."""

    name: ClassVar[str] = "replicate"
    base_url: ClassVar[str] = "https://api.replicate.com/v1"
    key_name: ClassVar[str] = "REPLICATE_API_TOKEN"
    sends_hooks: ClassVar[bool] = True
    #: what webhooks are signed with, once it is known
    _hook_secret: str | None = None
    known: ClassVar[dict[str, Known]] = {
        "black-forest-labs/flux-schnell": Known(
            Kind.IMAGE, _run(0.003, _FLUX_INPUTS), _FLUX, fixed={"output_format": "png"}
        ),
        "black-forest-labs/flux-dev": Known(
            Kind.IMAGE, _run(0.025, _FLUX_INPUTS), _FLUX, fixed={"output_format": "png"}
        ),
        "black-forest-labs/flux-kontext-pro": Known(
            Kind.IMAGE,
            _run(0.04, {"output_format": "none", "safety_tolerance": "none", "prompt_upsampling": "none"}),
            _FLUX | {"input_image": "reference"}, references=1, fixed={"output_format": "png"},
        ),
        "google/nano-banana": Known(
            Kind.IMAGE, _run(0.039, {"output_format": "none"}),
            {"prompt": "prompt", "aspect_ratio": "aspect_ratio", "image_input": "references"},
            references=8, fixed={"output_format": "png"},
        ),
        "minimax/hailuo-02": Known(
            Kind.CLIP, _second(0.045, {"resolution": {"768p": 1}, "prompt_optimizer": "none"}),
            {"prompt": "prompt", "first_frame_image": "start_image", "duration": "seconds"}, (6, 10),
            # what the price is for; left out, versions of the model choose differently
            fixed={"resolution": "768p"},
        ),
        "kwaivgi/kling-v2.1": Known(
            Kind.CLIP, _second(0.05, {"mode": {"standard": 1}, "negative_prompt": "none"}),
            {"prompt": "prompt", "start_image": "start_image", "duration": "seconds"}, (5, 10),
        ),
        "bytedance/seedance-1-lite": Known(
            Kind.CLIP, _second(0.036, {"camera_fixed": "none"}),
            {"prompt": "prompt", "image": "start_image", "duration": "seconds", "seed": "seed"}, (5, 10),
        ),
        "google/veo-3-fast": Known(
            Kind.CLIP, _second(0.15, {"generate_audio": {"true": 1}, "negative_prompt": "none", "seed": "none"}),
            {"prompt": "prompt", "image": "start_image", "duration": "seconds", "aspect_ratio": "aspect_ratio"},
            (4, 6, 8), sound=True, fixed={"generate_audio": True},
        ),
        "meta/musicgen": Known(
            Kind.MUSIC, _run(0.15, {"output_format": "none", "normalization_strategy": "none", "seed": "none"}),
            {"prompt": "prompt", "duration": "seconds"}, (30,), fixed={"output_format": "wav"},
        ),
    }  # fmt: skip

    @classmethod
    def check_name(cls, name: str) -> None:
        """Refuse names that are no model's of Replicate: they are `owner/name`."""
        check_model_name(name, fewest=2, most=2)

    def authorization(self, key: str) -> str:
        """Return the value of the Authorization header."""
        return f"Bearer {key}"

    async def create(self, work: Work) -> tuple[str, dict[str, Any]]:
        """Have the newest version of the model make a prediction."""
        body, name = {"input": await self.inputs(work)}, self.model_name(work)
        version = await self._version(name)
        if version is None:
            return f"{_model_path(name)}/predictions", body
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
        """Read a prediction."""
        prediction = await self.ask("GET", url_path("predictions", job_id))
        ending = ending_of(prediction.get("status"))
        if ending is None:
            return None
        if ending == "failed":
            raise self.failure(job_id, prediction["status"], prediction.get("error"))
        if prediction.get("data_removed"):
            raise self.expired(job_id, "its data is removed")
        return Made(self.file_of(job_id, work, prediction.get("output")))

    async def cancel(self, job_id: str, work: Work) -> None:
        """Have the prediction stopped."""
        await self.ask("POST", url_path("predictions", job_id, "cancel"))

    async def _version(self, name: str) -> str | None:
        """Return a model's newest version; None for official models, which are run without."""
        about = await self.ask("GET", _model_path(name), f"the question about the model {name}", name)
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
        file = {"content": ("start", *picture)}
        uploaded = await self.ask("POST", "/files", "the upload of a picture", files=file)
        return str(uploaded["urls"]["get"])


def _model_path(name: str) -> str:
    return url_path("models", *name.split("/"))

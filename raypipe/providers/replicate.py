"""Replicate: https://replicate.com/docs/reference/http."""

from typing import Any, ClassVar

from pydantic import Field

from raypipe.errors import ProviderRejected
from raypipe.models import Artifact, Kind, Value
from raypipe.providers.base import Model, Price, Work
from raypipe.providers.http import HttpProvider, Made
from raypipe.providers.inputs import Word, data_uri, inputs_of

#: largest picture that is sent within the request; larger ones are uploaded first
INLINE_BYTES = 256 * 2**10
PRICED = "2026-11-23"


class ReplicateOptions(Value):
    """Settings of one model."""

    #: further inputs, in the model's own words, such as {"resolution": "1080p"}
    input: dict[str, Any] = Field(default_factory=dict)
    #: for a model that raypipe does not know: its fields, and what each stands for
    inputs: dict[str, Word] | None = None
    #: lengths of clip that such a model makes, in seconds
    durations: tuple[float, ...] = ()
    #: US dollars that a run of such a model costs
    price: float | None = Field(default=None, ge=0)


class _Known(Value):
    """A model that raypipe knows."""

    model: Model
    inputs: dict[str, Word]
    #: inputs that are the same for each work
    fixed: dict[str, Any] = Field(default_factory=dict)


def _known(
    kind: Kind,
    name: str,
    price: Price,
    inputs: dict[str, Word],
    durations: tuple[float, ...] = (),
    **fixed: Any,
) -> _Known:
    model = Model(name=f"replicate/{name}", kind=kind, price=price, durations=durations)
    return _Known(model=model, inputs=inputs, fixed=fixed)


def _run(usd: float) -> Price:
    return Price(usd=usd, per="run", as_of=PRICED)


def _second(usd: float) -> Price:
    return Price(usd=usd, per="second", as_of=PRICED)


_FLUX: dict[str, Word] = {"prompt": "prompt", "aspect_ratio": "aspect_ratio", "seed": "seed"}
_KNOWN = {
    known.model.name: known
    for known in (
        _known(Kind.IMAGE, "black-forest-labs/flux-schnell", _run(0.003), _FLUX, output_format="png"),
        _known(Kind.IMAGE, "black-forest-labs/flux-dev", _run(0.025), _FLUX, output_format="png"),
        _known(
            Kind.CLIP, "minimax/hailuo-02", _second(0.045),
            {"prompt": "prompt", "first_frame_image": "start_image", "duration": "seconds"}, (6, 10),
        ),
        _known(
            Kind.CLIP, "kwaivgi/kling-v2.1", _second(0.05),
            {"prompt": "prompt", "start_image": "start_image", "duration": "seconds"}, (5, 10),
        ),
        _known(
            Kind.CLIP, "bytedance/seedance-1-lite", _second(0.036),
            {"prompt": "prompt", "image": "start_image", "duration": "seconds", "seed": "seed"}, (5, 10),
        ),
        _known(
            Kind.MUSIC, "meta/musicgen", _run(0.15),
            {"prompt": "prompt", "duration": "seconds"}, (30,), output_format="wav",
        ),
    )
}  # fmt: skip


class ReplicateProvider(HttpProvider):
    """Models hosted by Replicate."""

    name: ClassVar[str] = "replicate"
    base_url: ClassVar[str] = "https://api.replicate.com/v1"
    key_name: ClassVar[str] = "REPLICATE_API_TOKEN"
    Options = ReplicateOptions

    @classmethod
    def models(cls) -> tuple[Model, ...]:
        """Return the models that need no mapping in `options`."""
        return tuple(known.model for known in _KNOWN.values())

    @classmethod
    def model(cls, kind: Kind, name: str, options: dict[str, Any]) -> Model:
        """Find a model that is known, or described in the options."""
        own = ReplicateOptions.model_validate(options)
        if own.inputs is None:
            return super().model(kind, name, options)
        price = None if own.price is None else Price(usd=own.price)
        return Model(name=name, kind=kind, durations=tuple(sorted(own.durations)), price=price)

    def authorization(self, key: str) -> str:
        """Return the value of the Authorization header."""
        return f"Bearer {key}"

    async def create(self, work: Work) -> tuple[str, dict[str, Any]]:
        """Have the newest version of the model make a prediction."""
        own, known = ReplicateOptions.model_validate(work.options), _KNOWN.get(work.model)
        fixed, names = ({}, own.inputs or {}) if known is None else (known.fixed, known.inputs)
        model = self.model(work.kind, work.model, work.options)
        inputs = await inputs_of(work, model, names | (own.inputs or {}), self._picture)
        body, name = {"input": fixed | inputs | own.input}, work.model.removeprefix("replicate/")
        version = await self._version(name)
        if version is None:
            return f"/models/{name}/predictions", body
        return "/predictions", {"version": version, **body}

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
        output = prediction.get("output")
        url = output[0] if isinstance(output, list) and output else output
        if not isinstance(url, str):
            raise ProviderRejected(f"the prediction {job_id} succeeded, but its output is {output!r:.100}")
        return Made(url)

    async def cancel(self, job_id: str) -> None:
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

    async def _picture(self, artifact: Artifact) -> str:
        data = await self.context.store.get_async(artifact)
        if len(data) <= INLINE_BYTES:
            return data_uri(data, artifact.media_type)
        uploaded = await self.ask("POST", "/files", files={"content": ("start", data, artifact.media_type)})
        return str(uploaded["urls"]["get"])

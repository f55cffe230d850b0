"""What models a vendor has, as a table, and what each is given; others are described in the options of a video."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from raypipe.data_uris import data_uri
from raypipe.errors import InvalidRequest
from raypipe.media.pictures import EncodedPicture, outgoing_picture
from raypipe.models import Artifact, Kind, Spec, Value
from raypipe.providers.base import HostedProvider, Model, Price, Work, options_of, provider_of
from raypipe.providers.inputs import Word, inputs_of


class ModelOptions(Value):
    """Settings of one model."""

    #: further inputs, in the model's own words, such as {"resolution": "1080p"}
    input: dict[str, Any] = Field(default_factory=dict)
    #: for a model that raypipe does not know: its fields, and what each stands for
    inputs: dict[str, Word] | None = None
    #: lengths of clip that such a model makes, in seconds
    durations: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        default=(), max_length=100
    )
    #: how many reference pictures such a model takes
    references: int = Field(default=0, ge=0)
    #: whether such a model's clips have sound
    sound: bool = False
    #: US dollars that a run costs, of a model that raypipe does not know, or with settings that change its price
    price: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class Known(NamedTuple):
    """A model that raypipe knows."""

    kind: Kind
    price: Price
    #: its fields, and what each stands for
    inputs: dict[str, Word]
    #: lengths it makes, in seconds, ascending; empty: any
    durations: tuple[float, ...] = ()
    #: how many reference pictures it takes
    references: int = 0
    #: whether its clips have sound
    sound: bool = False
    #: inputs that are the same for each work
    fixed: Mapping[str, Any] = MappingProxyType({})


class KnownModels(HostedProvider):
    """A vendor with a table of models."""

    #: models that need no description in the options, by the vendor's names for them
    known: ClassVar[Mapping[str, Known]] = {}
    Options = ModelOptions

    @classmethod
    def models(cls) -> tuple[Model, ...]:
        """Return the models that need no description in the options."""
        return tuple(
            Model(
                name=f"{cls.name}/{name}",
                kind=each.kind,
                price=each.price,
                durations=each.durations,
                references=each.references,
                sound=each.sound,
            )
            for name, each in cls.known.items()
        )

    @classmethod
    def model(cls, kind: Kind, name: str, options: dict[str, Any]) -> Model:
        """Find a model that is known, or described in the options.

        Raises:
            UnknownModel: It is neither.
            InvalidRequest: The options fill a field that raypipe fills.
        """
        own, known = ModelOptions.model_validate(options), cls.known.get(name.removeprefix(f"{cls.name}/"))
        filled = ({} if known is None else known.inputs) | (own.inputs or {})
        for field in own.input:
            if field in filled:
                raise InvalidRequest(
                    f"options.{name}.input.{field}: raypipe fills this field, with the {filled[field]}; leave it out."
                )
        price = None if own.price is None else Price(usd=own.price)
        if own.inputs is None:
            found = super().model(kind, name, options)
            return found if price is None else found.model_copy(update={"price": price})
        lengths = tuple(sorted(own.durations))
        described = {"durations": lengths, "references": own.references, "sound": own.sound, "price": price}
        return Model(name=name, kind=kind, **described)

    @classmethod
    def notes(cls, spec: Spec) -> tuple[str, ...]:
        """Say where settings may change what a model costs."""
        found = []
        for kind, name in ((kind, name) for kind, names in spec.models.items() for name in names):
            if provider_of(name) == cls.name:
                own = ModelOptions.model_validate(options_of(spec.options, kind, name))
                if own.input and own.price is None:
                    found.append(
                        f"The price of {name} is counted as without options.{name}.input; if that changes it, say so "
                        'with "price".'
                    )
        return tuple(found)

    def model_name(self, work: Work) -> str:
        """Return the vendor's own name of the model that does the work."""
        return work.model.removeprefix(f"{self.name}/")

    async def inputs(self, work: Work) -> dict[str, Any]:
        """Return what the model is given, in its own words."""
        own, known = ModelOptions.model_validate(work.options), self.known.get(self.model_name(work))
        names, fixed = (known.inputs, known.fixed) if known is not None else ({}, {})
        model = self.model(work.kind, work.model, work.options)
        filled = await inputs_of(work, model, names | (own.inputs or {}), self.picture)
        return {**fixed, **filled, **own.input}

    async def picture(self, artifact: Artifact) -> str:
        """Return a stored picture as text that the vendor takes: here within the request, as a data: URI."""
        return data_uri(*await self.picture_bytes(artifact))

    async def picture_bytes(self, artifact: Artifact) -> EncodedPicture:
        """Return a stored picture as a vendor may see it: its pixels, and nothing that was written about them."""
        return await asyncio.to_thread(outgoing_picture, await self.context.store.get_async(artifact))

"""What models a vendor has, as a table, and what each is given; others are described in the options of a video."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from raypipe.data_uris import data_uri
from raypipe.errors import InvalidRequest
from raypipe.media.pictures import EncodedPicture, outgoing_picture
from raypipe.models import Artifact, Kind, Value
from raypipe.providers.base import HostedProvider, Model, Price, Work
from raypipe.providers.inputs import Word, inputs_of
from raypipe.providers.paths import check_model_name


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
    #: US dollars that a run costs, of a model whose price is not known, or more than the price that is
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
    def check_name(cls, name: str) -> None:
        """Check that a model's full name is one, before it becomes part of an address that is asked with our key.

        Raises:
            InvalidRequest: It is none.
        """
        check_model_name(name)

    @classmethod
    def model(cls, kind: Kind, name: str, options: dict[str, Any]) -> Model:
        """Find a model that is known, or described in the options.

        Raises:
            UnknownModel: It is neither.
            InvalidRequest: Its name is none, or the options fill a field that raypipe fills.
        """
        own, known = ModelOptions.model_validate(options), cls.known.get(name.removeprefix(f"{cls.name}/"))
        is_described = known is None and own.inputs is not None
        if is_described:
            cls.check_name(name)
        found = _described(kind, name, own) if is_described else super().model(kind, name, options)
        _check_fields(name, own, {} if known is None else known.inputs)
        if known is not None and own.inputs is not None:
            _check_lengths(name, own, known)
            more = {"references": own.references or known.references, "sound": own.sound or known.sound}
            found = found.model_copy(update=more)
        by_table = {} if known is None else known.inputs
        filled = {field: word for field, word in (own.inputs or {}).items() if field not in by_table}
        requested = {"inputs": own.input, "filled": filled, "requested_price": own.price}
        return found.model_copy(update=requested)

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


def _described(kind: Kind, name: str, own: ModelOptions) -> Model:
    """Return a model that the options describe."""
    lengths = tuple(sorted(own.durations))
    return Model(
        name=name,
        kind=kind,
        durations=lengths,
        references=own.references,
        sound=own.sound,
        is_described=True,
    )


def _check_fields(name: str, own: ModelOptions, known: Mapping[str, Word]) -> None:
    """Check that options fill no field that raypipe fills: its length, for one, is what is paid.

    Raises:
        InvalidRequest: They do.
    """
    described = own.inputs or {}
    taken = [f"inputs.{field}" for field, word in described.items() if known.get(field, word) != word]
    taken += [f"input.{field}" for field in own.input if field in known or field in described]
    for place in taken:
        field = place.partition(".")[2]
        word = known.get(field) or described[field]
        raise InvalidRequest(
            f"options.{name}.{place}: raypipe fills this field, with the {word}; leave it out."
        )


def _check_lengths(name: str, own: ModelOptions, known: Known) -> None:
    """Check that options do not say other lengths of a model than it has.

    Raises:
        InvalidRequest: They do.
    """
    if own.durations and tuple(sorted(own.durations)) != known.durations:
        lengths = ", ".join(f"{each:g}" for each in known.durations) or "any"
        raise InvalidRequest(
            f"options.{name}.durations: raypipe knows this model's lengths ({lengths} s); leave them out."
        )

"""Bodies of answers about plans, models and time lines."""

from typing import Literal

from pydantic import BaseModel, Field

from raypipe.costs import estimate
from raypipe.intake import notes_on
from raypipe.models import DraftSpec, Kind, Spec
from raypipe.phases.plan import spec_as_draft
from raypipe.prices import Prices
from raypipe.providers.base import Model, provider_of
from raypipe.timeline import Chart


class Plan(BaseModel):
    """What would be made, and at what cost."""

    object: Literal["plan"] = "plan"
    spec: DraftSpec = Field(description="To be edited, and given to POST /v1/videos.")
    estimated_cost: float = Field(description="US dollars.")
    costs: dict[str, float | None] = Field(description="US dollars by step; null: not known.")
    notes: list[str]


def plan_view(spec: Spec, prices: Prices, notes: list[str]) -> Plan:
    """Show a plan, with what it is estimated at by the operator's prices."""
    said, expected = [*notes, *notes_on(spec, prices)], estimate(spec, prices)
    return Plan(
        spec=spec_as_draft(spec), estimated_cost=expected.total, costs=dict(expected.steps), notes=said
    )


class ModelView(BaseModel):
    """A model that can be named in a request."""

    id: str
    object: Literal["model"] = "model"
    owned_by: str = Field(description="Its provider.")
    kind: Kind
    price: str | None = Field(description="As $0.045/s, $0.003/run or free; null: not known.")
    durations: list[float] = Field(description="Lengths of clips it makes, in seconds; none: any.")
    sound: bool = Field(description="Whether its clips have sound.")
    reference_pictures: int = Field(description="How many it takes.")
    key: Literal["set", "missing"] | None = Field(
        description="Whether its key is there; null: it needs none."
    )


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelView]


def model_view(model: Model, key: Literal["set", "missing"] | None) -> ModelView:
    """Show a model."""
    return ModelView(
        id=model.name,
        owned_by=provider_of(model.name),
        kind=model.kind,
        price=None if model.price is None else str(model.price),
        durations=list(model.durations),
        sound=model.sound,
        reference_pictures=model.references,
        key=key,
    )


class BarView(BaseModel):
    """One step as a bar of a time line."""

    step: str
    row: str
    group: str
    start: float = Field(description="Seconds after the first step began.")
    end: float
    state: str
    node: str


class TimelineView(BaseModel):
    """What ran when."""

    object: Literal["timeline"] = "timeline"
    title: str
    seconds: float
    bars: list[BarView]


def timeline_view(chart: Chart) -> TimelineView:
    """Show a chart."""
    bars = [
        BarView(
            step=bar.label, row=bar.row, group=bar.group, start=round(bar.start, 3), end=round(bar.end, 3),
            state=bar.state, node=bar.node,
        )
        for bar in chart.bars
    ]  # fmt: skip
    return TimelineView(title=chart.title, seconds=round(chart.end, 3), bars=bars)

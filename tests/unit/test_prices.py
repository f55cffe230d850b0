"""What limits somebody is not measured by what he says himself: prices, and what inputs do to them."""

import asyncio
import json
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from pydantic import ValidationError

from raypipe.api import create_app
from raypipe.artifacts import ArtifactStore
from raypipe.budgets import Customer
from raypipe.config import Settings
from raypipe.costs import Charge, charge_of, estimate, price_of
from raypipe.errors import InvalidRequest, OverBudget, PriceRefused, RaypipeError, UnknownModel
from raypipe.hosted import HostedWork
from raypipe.intake import accept, notes_on, plan
from raypipe.journal import Journal, StepRecord
from raypipe.models import Job, Kind, Phase, Size, Spec, StepFailure, VideoRequest
from raypipe.prices import Amount, Price, Prices
from raypipe.providers.base import ClipWork, Context, Delivery, HostedProvider, ImageWork, Pending, Work
from raypipe.providers.fal import FalProvider
from raypipe.providers.inputs import Word
from raypipe.providers.known import KnownModels
from raypipe.providers.registry import known_models, model_of
from raypipe.providers.replicate import ReplicateProvider
from raypipe.step_log import StepLog
from raypipe.steps import Steps, new_step

FLUX, HAILUO = "replicate/black-forest-labs/flux-schnell", "replicate/minimax/hailuo-02"
MUSICGEN, FAL_FLUX = "replicate/meta/musicgen", "fal/fal-ai/flux/schnell"
#: a film of six images, six clips of six seconds and a track
MODELS = {Kind.IMAGE: (FLUX,), Kind.CLIP: (HAILUO,), Kind.MUSIC: (MUSICGEN,)}
FILM = 6 * 0.003 + 6 * 6 * 0.045 + 0.15
#: a model that no table knows
CUSTOM = "replicate/somebody/painter"
DESCRIBED = {"inputs": {"text": "prompt"}}
#: prices of such a model that say which of its fields is the length, or are the size
SECOND = {"usd": 0.05, "per": "second", "inputs": {"s": "paid"}}
MEGAPIXEL = {"usd": 0.05, "per": "megapixel", "inputs": {"w": "paid", "h": "paid"}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def request_of(options: dict[str, dict[str, Any]] | None = None, **more: Any) -> VideoRequest:
    fields: dict[str, Any] = {"prompt": "A fox", "duration": 30, "models": MODELS, "options": options or {}}
    return VideoRequest.model_validate(fields | more)


def spec_of(
    options: dict[str, dict[str, Any]] | None = None, settings: Settings | None = None, **more: Any
) -> Spec:
    settings = settings or Settings(data_dir=Path("/nonexistent"))
    return plan(request_of(options, **more), "v", settings, ArtifactStore("memory:///prices"))


def total_of(options: dict[str, dict[str, Any]], prices: Prices | None = None, **more: Any) -> float | None:
    """Return what the film is estimated at; None if a price is not known."""
    found = estimate(spec_of(options, **more), prices or {})
    return None if found.unknown else found.total


#: every place in the options of a request at which a price may stand
SCOPES = [
    {FLUX: {"price": 0}, HAILUO: {"price": 0}, MUSICGEN: {"price": 0}},
    {"image": {"price": 0}, "clip": {"price": 0}, "music": {"price": 0}},
    {"replicate": {"price": 0}},
    {"replicate": {"price": 1e-9}},
    {"replicate": {"price": 9.0}, "clip": {"price": 0}, HAILUO: {"price": 0.0}, "image": {"price": 0}},
]


@pytest.mark.parametrize("options", SCOPES)
def test_a_price_in_a_request_does_not_lower_what_a_film_counts_with(
    options: dict[str, dict[str, Any]],
) -> None:
    total = total_of(options)
    assert total is not None
    assert total >= FILM - 1e-9


@pytest.mark.parametrize("options", SCOPES[:4])
def test_a_price_in_a_request_takes_no_film_past_a_budget(
    tmp_path: Path, options: dict[str, dict[str, Any]]
) -> None:
    for more, settings in [({"budget": 1.0}, {}), ({}, {"daily_budget": 1.0})]:
        with pytest.raises(OverBudget, match=r"estimated at \$1\.788"):
            spec_of(options, Settings(data_dir=tmp_path, **settings), **more)


@pytest.mark.parametrize("options", SCOPES[:4])
def test_what_is_sent_is_counted_at_the_price_of_the_table(options: dict[str, dict[str, Any]]) -> None:
    spec = spec_of(options)
    job, beat = Job.of("v", spec), spec.beats[0]
    image = ImageWork(job=job, model=FLUX, beat=beat)
    clip = ClipWork(job=job, model=HAILUO, beat=beat, continues=False)
    assert (price_of(image, {}), price_of(clip, {})) == pytest.approx((0.003, 0.27))
    assert charge_of(image, {}) == Charge(pytest.approx(0.003), True)


def test_a_price_in_a_request_raises_what_counts() -> None:
    assert total_of({HAILUO: {"price": 0.48}}) == pytest.approx(FILM + 6 * (0.48 - 0.27))


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({FLUX: {"input": {"num_outputs": 4}}}, FILM + 6 * 3 * 0.003),
        ({"image": {"input": {"num_outputs": "4"}}}, FILM + 6 * 3 * 0.003),
        ({FLUX: {"input": {"num_outputs": 4, "output_quality": 90}, "price": 0}}, FILM + 6 * 3 * 0.003),
        ({FLUX: {"input": {"num_outputs": 0}}}, FILM),
        ({FLUX: {"input": {"num_outputs": -4}}}, FILM),
        ({FLUX: {"input": {"num_outputs": "many"}}}, None),
        ({FLUX: {"input": {"num_outputs": [4]}}}, None),
        ({FLUX: {"input": {"a_new_input": 1}}}, None),
        ({HAILUO: {"input": {"resolution": "768P"}}}, FILM),
        ({HAILUO: {"input": {"resolution": "1080p"}}}, None),
        ({HAILUO: {"input": {"resolution": "1080p"}, "price": 0.48}}, FILM + 6 * (0.48 - 0.27)),
        ({HAILUO: {"input": {"resolution": "1080p"}, "price": 0}}, FILM),
    ],
)
def test_inputs_that_change_a_price_count_or_need_a_price_that_does(
    options: dict[str, dict[str, Any]], total: float | None
) -> None:
    assert total_of(options) == (None if total is None else pytest.approx(total))


def test_with_a_budget_an_input_of_unknown_effect_is_refused_until_somebody_says_what_it_costs(
    tmp_path: Path,
) -> None:
    dearer = {HAILUO: {"input": {"resolution": "1080p"}}}
    with pytest.raises(OverBudget, match=r"hailuo-02' costs with 'resolution' among its inputs is not known"):
        spec_of(dearer, Settings(data_dir=tmp_path), budget=100.0)
    with pytest.raises(OverBudget, match="is not known"):
        spec_of(dearer, Settings(data_dir=tmp_path, daily_budget=100.0))
    said = {HAILUO: {"usd": 0.045, "per": "second", "inputs": {"resolution": {"1080P": 2}}}}
    operators = Settings(data_dir=tmp_path, prices=said)
    spec = spec_of(dearer, operators, budget=100.0)
    assert estimate(spec, operators.prices).total == pytest.approx(FILM + 6 * 0.27)
    assert any("does not say what its input 'resolution' does" in note for note in notes_on(spec_of(dearer)))


def test_a_large_image_counts_with_its_megapixels_where_those_are_paid() -> None:
    models = MODELS | {Kind.IMAGE: (FAL_FLUX,)}
    for size, megapixels in (("1280x720", 1), ("1024x1024", 1), ("1026x1024", 2), ("1920x1920", 4)):
        assert total_of({}, models=models, size=size) == pytest.approx(FILM + 6 * 0.003 * (megapixels - 1)), (
            size
        )


@pytest.mark.parametrize(
    ("kind", "name", "options", "said"),
    [
        (Kind.CLIP, HAILUO, {"inputs": {"duration": "seed"}}, r"inputs\.duration: raypipe fills this field"),
        (Kind.CLIP, HAILUO, {"inputs": {"text": "prompt"}, "durations": [1]}, r"durations: raypipe knows"),
        (Kind.CLIP, HAILUO, {"input": {"duration": 10}}, r"input\.duration: raypipe fills this field"),
        (Kind.IMAGE, HAILUO, DESCRIBED, "has no image model"),
        (Kind.CLIP, FLUX, DESCRIBED, "has no clip model"),
    ],
)
def test_a_request_cannot_say_what_a_known_model_is_paid_for(
    kind: Kind, name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        model_of(kind, name, {name: options})


def test_a_description_does_not_take_away_the_price_of_a_known_model() -> None:
    same = {"inputs": {"prompt": "prompt"}}
    for described in (same, same | {"price": 0}, same | {"durations": [6, 10]}, DESCRIBED | {"price": 0}):
        assert total_of({HAILUO: described}) == pytest.approx(FILM)
    # what a beat is to show may be "1080p"
    assert total_of({HAILUO: {"inputs": {"resolution": "prompt"}}}) is None


@pytest.mark.parametrize("word", get_args(Word))
@pytest.mark.parametrize("field", ["num_outputs", "resolution", "seed"])
def test_a_field_that_no_table_fills_counts_whatever_a_request_fills_it_with(field: str, word: str) -> None:
    spec = spec_of({HAILUO: {"inputs": {field: word}}})
    assert "chunk/0" in estimate(spec, {}).unknown
    # and the plan says why
    assert f"The vendor's price of {HAILUO} does not say what its input {field!r} does to it." in notes_on(
        spec
    )


@pytest.mark.parametrize("provider", [ReplicateProvider, FalProvider])
def test_what_is_paid_by_a_table_is_asked_for_in_a_field_of_the_table(provider: type[KnownModels]) -> None:
    measures = {"run": set(get_args(Word)), "second": {"seconds", "seconds_text"}, "megapixel": {"size"}}
    for name, known in provider.known.items():
        assert measures[known.price.per] & set(known.inputs.values()), name


def test_the_plan_says_what_the_operators_price_does_not_say() -> None:
    spec = spec_of({HAILUO: {"input": {"resolution": "1080p", "other": 1}}})
    prices = {HAILUO: Price(usd=0.05, per="second", inputs={"resolution": {"1080p": 2}})}
    (said,) = (note for note in notes_on(spec, prices) if "price" in note)
    assert said == f"The operator's price of {HAILUO} does not say what its input 'other' does to it."


@pytest.mark.parametrize("beat", ["4", "1080p"])
@pytest.mark.parametrize("field", ["num_outputs", "resolution"])
def test_what_a_beat_is_to_show_says_nothing_of_what_it_costs(tmp_path: Path, beat: str, field: str) -> None:
    price = {"usd": 0.05, "inputs": {"resolution": {"720p": 1, "1080p": 3}}}
    settings = Settings(data_dir=tmp_path, prices={CUSTOM: price})
    shown = {"prompt": None, "duration": None, "spec": {"beats": [{"prompt": beat, "duration": 5}]}}
    request = request_of(budget=50.0, **with_custom({"inputs": {"text": "prompt", field: "prompt"}}), **shown)
    for sets_prices in (True, False):
        with pytest.raises(OverBudget, match=f"'{field}' among its inputs is not known"):
            plan(
                request, "v", settings, ArtifactStore("memory:///shown"), Customer("alice", None, sets_prices)
            )


def test_who_asks_for_no_amount_of_what_is_paid_is_told_so(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, prices={CUSTOM: SECOND})
    with pytest.raises(
        OverBudget, match="paid by the second and no field is filled that its price says is 'paid'"
    ):
        spec_of(budget=50.0, settings=settings, **with_custom(DESCRIBED, Kind.CLIP))
    # the operator, on the command line, may say what it costs
    assert spec_of(budget=50.0, settings=settings, **with_custom(DESCRIBED | {"price": 0.5}, Kind.CLIP))


def with_custom(described: dict[str, Any], kind: Kind = Kind.IMAGE) -> dict[str, Any]:
    """A request by a model that no table knows, and that the request describes."""
    return {"models": MODELS | {kind: (CUSTOM,)}, "options": {CUSTOM: described}}


@pytest.mark.parametrize(
    ("kind", "described", "price", "cost"),
    [
        (Kind.IMAGE, DESCRIBED, {"usd": 0.05}, 0.05),
        (Kind.IMAGE, DESCRIBED | {"price": 0}, {"usd": 0.05}, 0.05),
        (Kind.IMAGE, DESCRIBED | {"price": 0.5}, {"usd": 0.05}, 0.5),
        (Kind.IMAGE, DESCRIBED | {"input": {"n": 3}}, {"usd": 0.05}, None),
        (Kind.IMAGE, DESCRIBED | {"input": {"n": 3}}, {"usd": 0.05, "inputs": {"n": "times"}}, 0.15),
        (Kind.IMAGE, DESCRIBED | {"input": {"n": 3}}, {"usd": 0.05, "inputs": {"*": "none"}}, 0.05),
        # numbers of the video count as what they may be in truth: the seed is the caller's
        (Kind.IMAGE, {"inputs": {"text": "prompt", "num_outputs": "seed"}}, {"usd": 0.05}, None),
        (Kind.IMAGE, {"inputs": {"text": "prompt", "seed": "seed"}}, {"usd": 0.05}, 0.05),
        (Kind.IMAGE, {"inputs": {"text": "prompt", "w": "width"}}, {"usd": 0.05}, None),
        # an image has no seconds, so it would cost nothing
        (Kind.IMAGE, DESCRIBED, {"usd": 0.05, "per": "second"}, None),
        (Kind.CLIP, DESCRIBED, {"usd": 0.05, "per": "megapixel"}, None),
        # what is paid is asked for in the field that the operator names, or the vendor makes as much as it likes
        (Kind.CLIP, DESCRIBED | {"durations": [8]}, {"usd": 0.05, "per": "second"}, None),
        (Kind.CLIP, DESCRIBED | {"durations": [8]}, SECOND, None),
        (Kind.CLIP, {"inputs": {"s": "seconds"}, "durations": [8]}, {"usd": 0.05, "per": "second"}, None),
        (Kind.CLIP, {"inputs": {"s": "seconds"}, "durations": [8]}, SECOND, 0.4),
        (Kind.CLIP, {"inputs": {"s": "seconds_text"}, "durations": [8]}, SECOND, 0.4),
        (Kind.CLIP, {"inputs": {"s": "seed"}, "durations": [8]}, SECOND, None),
        (Kind.CLIP, {"inputs": {"other": "seconds"}, "durations": [8]}, SECOND, None),
        (Kind.CLIP, {"inputs": {"s": "seconds", "num_outputs": "seconds"}}, SECOND, None),
        (Kind.CLIP, DESCRIBED | {"input": {"s": 60}, "durations": [1, 8]}, SECOND, None),
        (Kind.MUSIC, DESCRIBED | {"durations": [0.1]}, SECOND, None),
        (Kind.MUSIC, {"inputs": {"text": "prompt", "s": "seconds"}, "durations": [20]}, SECOND, 1.0),
        (Kind.IMAGE, DESCRIBED, MEGAPIXEL, None),
        (Kind.IMAGE, {"inputs": {"w": "width", "h": "height"}}, MEGAPIXEL, 0.05),
        (Kind.IMAGE, {"inputs": {"w": "width", "h": "width"}}, MEGAPIXEL, None),
        (Kind.IMAGE, {"inputs": {"w": "width"}}, MEGAPIXEL, None),
        (Kind.IMAGE, {"inputs": {"z": "size"}}, {"usd": 0.05, "per": "megapixel", "inputs": {"z": "paid"}}, 0.05),
        # what a beat is to show may be "4", a picture is none
        (Kind.IMAGE, {"inputs": {"num_outputs": "prompt"}}, {"usd": 0.05}, None),
        (Kind.IMAGE, {"inputs": {"words": "prompt"}}, {"usd": 0.05, "inputs": {"words": "none"}}, 0.05),
        (Kind.IMAGE, {"inputs": {"image": "references"}, "references": 2}, {"usd": 0.05}, 0.05),
        (Kind.IMAGE, {"inputs": {"aspect_ratio": "aspect_ratio"}}, {"usd": 0.05}, 0.05),
        (Kind.IMAGE, {"inputs": {"resolution": "aspect_ratio"}}, {"usd": 0.05}, None),
        # what the operator's price names is not known before the run unless the request says it
        (Kind.IMAGE, {"inputs": {"image": "references"}}, {"usd": 0.05, "inputs": {"image": "times"}}, None),
        (Kind.IMAGE, {"inputs": {"text": "prompt"}}, {"usd": 0.05, "inputs": {"text": {"prompt": 0, "none": 0}}}, None),
        (Kind.IMAGE, {"inputs": {"resolution": "prompt"}},
         {"usd": 0.05, "inputs": {"resolution": {"720p": 1, "1080p": 3}, "*": "none"}}, None),
        (Kind.IMAGE, DESCRIBED | {"input": {"resolution": "1080p"}},
         {"usd": 0.05, "inputs": {"resolution": {"720p": 1, "1080p": 3}}}, 0.15),
        (Kind.IMAGE, {"inputs": {"*": "prompt"}}, {"usd": 0.05, "inputs": {"resolution": {"720p": 1}}}, None),
        # whoever is paid by the run says what a longer one costs
        (Kind.CLIP, {"inputs": {"s": "seconds"}, "durations": [60]}, {"usd": 0.2}, None),
        (Kind.CLIP, {"inputs": {"s": "seconds"}, "durations": [10]},
         {"usd": 0.2, "inputs": {"s": {"5": 1, "10": 2}}}, 0.4),
    ],
)  # fmt: skip
def test_a_model_that_no_table_knows_costs_what_the_operator_says(
    kind: Kind, described: dict[str, Any], price: dict[str, Any], cost: float | None
) -> None:
    spec = spec_of(**with_custom(described, kind))
    step = {Kind.IMAGE: "image/0", Kind.CLIP: "chunk/0", Kind.MUSIC: "music"}[kind]
    found = estimate(spec, {CUSTOM: Price.model_validate(price)}).steps[step]
    assert found == (None if cost is None else pytest.approx(cost))


def test_the_operators_price_comes_before_the_vendors_list_and_is_shown() -> None:
    settings = Settings(prices={HAILUO: {"usd": 0.03, "per": "second"}})
    assert total_of({}, settings.prices) == pytest.approx(FILM - 6 * 6 * 0.015)
    shown = {model.name: str(model.price) for model, _ in known_models(settings)}
    assert shown[HAILUO] == "$0.03/s"


@pytest.mark.parametrize(
    "value", ['{"a/b": 0.05}', '{"a/b": {"usd": -1}}', '{"a/b": {"usd": 1, "each": "run"}}', '{"a/b": {"usd": NaN}}',
              '{"a/b": {"usd": 1, "inputs": {"n": {"4": -1}}}}', '{"a/b": {"usd": 1, "inputs": {"n": "free"}}}',
              '{"a/b": {"usd": 1, "inputs": {"n": "paid"}}}',
              '{"a/b": {"usd": 1, "per": "second", "inputs": {"*": "paid"}}}']
)  # fmt: skip
def test_prices_that_are_none_are_refused_when_raypipe_starts(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RAYPIPE_PRICES", value)
    with pytest.raises(ValidationError):
        Settings()


def test_prices_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_PRICES", json.dumps({CUSTOM: {"usd": 0.05, "inputs": {"n": "times"}}}))
    assert Settings().prices[CUSTOM].of(Amount(), {"n": 2}) == pytest.approx(0.1)


def test_who_runs_raypipe_may_say_a_price_where_none_is_known_and_a_stranger_may_not(tmp_path: Path) -> None:
    own = request_of(budget=3.0, **with_custom(DESCRIBED | {"price": 0.05}))
    dearer = request_of({HAILUO: {"input": {"resolution": "1080p"}, "price": 0.28}}, budget=3.0)
    stranger, store = Customer("alice", sets_prices=False), ArtifactStore("memory:///whose")
    for request in (own, dearer):
        assert plan(request, "v", Settings(data_dir=tmp_path), store)
        with pytest.raises(PriceRefused, match="RAYPIPE_TRUST_PRICES"):
            plan(request, "v", Settings(data_dir=tmp_path), store, stranger)
    priced = Settings(data_dir=tmp_path, prices={CUSTOM: {"usd": 0.04}})
    assert estimate(plan(own, "v", priced, store, stranger), priced.prices).steps["image/0"] == pytest.approx(
        0.05
    )


class Service:
    """The API, as somebody elsewhere finds it."""

    def __init__(self, settings: Settings) -> None:
        self._app = create_app(settings)

    def post(self, path: str, **body: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, client=("127.0.0.1", 4711))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                models = body.pop("models", MODELS)
                return await client.post(
                    path, json={"prompt": "A fox", "seconds": 30, "models": models, **body}
                )

        return asyncio.run(ask())


def code_of(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("error", {}).get("code")


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/plans"])
def test_over_http_a_request_that_brings_its_own_price_is_refused_unless_callers_are_trusted(
    tmp_path: Path, path: str
) -> None:
    brought = with_custom(DESCRIBED | {"price": 0})
    service = Service(Settings(data_dir=tmp_path))
    assert code_of(service.post(path, **brought)) == (422, "price_refused")
    # as it stands in the spec of a plan, too
    beats = [{"prompt": "A fox", "duration": 5}]
    within = {"spec": {"beats": beats, "options": brought["options"]}, "models": brought["models"]}
    assert code_of(service.post(path, **within, prompt=None, seconds=None)) == (422, "price_refused")
    unpriced = with_custom(DESCRIBED)
    assert service.post(path, **unpriced).status_code in (200, 202)
    assert code_of(service.post(path, **unpriced, budget=9)) == (422, "over_budget")
    # the table's is not the caller's to say, so saying it is no use, and no harm
    assert service.post(path, options={HAILUO: {"price": 0}}).status_code in (200, 202)
    assert code_of(service.post(path, options={HAILUO: {"price": 0}}, budget=1)) == (422, "over_budget")

    trusting = Service(Settings(data_dir=tmp_path / "trusting", trust_prices=True))
    assert trusting.post(path, **brought, budget=9).status_code in (200, 202)
    priced = Service(Settings(data_dir=tmp_path / "priced", prices={CUSTOM: {"usd": 0.04}}))
    assert priced.post(path, **brought, budget=9).status_code in (200, 202)


def test_over_http_no_price_takes_a_film_past_the_days_budget(tmp_path: Path) -> None:
    service = Service(Settings(data_dir=tmp_path, daily_budget=1.0))
    for options in SCOPES[:4]:
        assert code_of(service.post("/v1/videos", options=options)) == (422, "over_budget"), options


class Vendor(HostedProvider):
    """A provider that is told of a create and delivers nothing yet."""

    name = "vendor"

    @classmethod
    def models(cls) -> tuple[Any, ...]:
        return ()

    async def submit(self, work: Work, token: str) -> str:
        return "job"

    async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
        raise RaypipeError("it is not asked")

    async def cancel(self, job_id: str, work: Work) -> None:
        raise RaypipeError("it is not asked")


def sent(settings: Settings, request: VideoRequest, planned: float | None) -> StepRecord:
    """Send the first clip of a video whose row says that it is planned at so many dollars; return the row."""

    async def main() -> StepRecord:
        journal, store = Journal(settings.journal_url), ArtifactStore(settings.artifacts_url)
        video, rows = accept(request, settings.model_copy(update={"daily_budget": None}), journal, store)
        await journal.writer.put(*rows)
        job = Job.of(video.id, video.spec, video.epoch)
        work = ClipWork(job=job, model=HAILUO, beat=video.spec.beats[0], continues=False)
        row = next(each for each in journal.steps(video.id) if each.step == "chunk/0")
        await journal.writer.put(journal.step(row.evolve(estimated_cost=planned)))

        async def make(log: StepLog) -> Any:
            log.note_model(HAILUO, log.record.estimated_cost)
            return await HostedWork(Vendor(Context(settings, store)), work, log, "node", settings).delivery()

        steps = Steps(journal, lambda _: asyncio.sleep(0, True))
        await steps.run(new_step(job, "chunk/0", Phase.CHUNKS, 0, Kind.CLIP), job.epoch, StepFailure, make)
        return next(each for each in journal.steps(video.id) if each.step == "chunk/0")

    return asyncio.run(main())


@pytest.mark.parametrize("planned", [0.0, 0.1, None])
def test_a_step_that_was_planned_too_cheaply_reserves_what_it_costs(
    settings: Settings, planned: float | None
) -> None:
    row = sent(settings, request_of({"clip": {"price": 0}}), planned)
    assert (row.provider_job_id, row.reserved_cost) == ("job", pytest.approx(0.27))


def test_a_step_that_was_planned_dearer_reserves_that(settings: Settings) -> None:
    assert sent(settings, request_of(), 0.5).reserved_cost == pytest.approx(0.5)


def test_a_stored_video_whose_price_is_not_known_sends_nothing_once_there_is_a_days_budget(
    tmp_path: Path,
) -> None:
    dearer = request_of({HAILUO: {"input": {"resolution": "1080p"}}})
    row = sent(Settings(data_dir=tmp_path, daily_budget=100.0), dearer, 0.27)
    assert (row.attempt, row.error_code) == (0, "budget_reached")
    assert "is not known" in (row.error_message or "")
    unbounded = sent(Settings(data_dir=tmp_path), dearer, 0.27)
    assert (unbounded.attempt, unbounded.reserved_cost) == (1, pytest.approx(0.27))


def test_a_model_of_another_kind_is_none() -> None:
    with pytest.raises(UnknownModel):
        model_of(Kind.MUSIC, HAILUO, {HAILUO: DESCRIBED})


def test_an_image_is_paid_for_the_megapixels_that_it_has_begun() -> None:
    sizes = {(1024, 1024): 1, (1026, 1024): 2, (64, 36): 1}
    for (width, height), megapixels in sizes.items():
        assert Amount.of_image(Size(width=width, height=height)).megapixels == megapixels

"""A fake of Replicate's HTTP API: `python -m raypipe.testing.fake_replicate --port 8100 --ledger FILE`."""

import asyncio
import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from standardwebhooks import Webhook

from raypipe.models import Kind
from raypipe.testing.vendor import ELSEWHERE, Job, Signed, Vendor, cut_off, deliver, run

TOKEN = "r8_fake"  # noqa: S105 - the key of a fake
#: what webhooks are signed with, and what a forger has
SECRET, FORGED = (f"whsec_{base64.b64encode(each).decode()}" for each in (b"a fake's secret", b"a forger's"))
#: models that are no official ones of Replicate's, and so need a version
COMMUNITY = {"meta/musicgen": "671ac645ce5e552cc63a54a2bbff63fcf798043055d2dac5fc9e36a837eedcfb"}
#: what a model makes, by a part of its name; all others make images
_KINDS = {
    "hailuo": Kind.CLIP,
    "kling": Kind.CLIP,
    "seedance": Kind.CLIP,
    "veo": Kind.CLIP,
    "video": Kind.CLIP,
    "music": Kind.MUSIC,
}
_FUNDS = "You have insufficient credit to run this model."


class FakeReplicate:
    """The API of a vendor."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def app(self) -> FastAPI:
        """Return it as an application."""
        app = FastAPI(title="fake replicate")
        app.middleware("http")(self.authenticated)
        app.get("/v1/models/{owner}/{name}")(self.model)
        app.get("/v1/models/{owner}/{name}/versions/{version}")(self.version)
        app.post("/v1/models/{owner}/{name}/predictions")(self.predict_with)
        app.post("/v1/predictions")(self.predict)
        app.get("/v1/predictions")(self.every)
        app.get("/v1/predictions/{job_id}")(self.prediction)
        app.post("/v1/predictions/{job_id}/cancel")(self.cancel)
        app.get("/v1/webhooks/default/secret")(self.secret)
        app.post("/v1/files")(self.upload)
        app.get("/delivery/{job_id}/{name}")(self.delivery)
        return app

    async def authenticated(self, request: Request, call_next: Any) -> Response:
        """Refuse who has no key; what was made may be fetched by whoever knows its address."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("Token ")
        if given != TOKEN and not request.url.path.startswith("/delivery/"):
            return _problem(401, "Unauthenticated", "You did not pass a valid authentication token")
        answer: Response = await call_next(request)
        return answer

    async def model(self, owner: str, name: str) -> Any:
        """Describe a model."""
        full = f"{owner}/{name}"
        nothing = ("github_url", "paper_url", "license_url", "cover_image_url", "default_example")
        return {
            **dict.fromkeys(nothing),
            "owner": owner,
            "name": name,
            "url": f"https://replicate.com/{full}",
            "description": "",
            "visibility": "public",
            "run_count": 1,
            "is_official": full not in COMMUNITY,
            "latest_version": await self.version(COMMUNITY.get(full, "0" * 64)),
        }

    async def version(self, version: str) -> Any:
        """Describe a version of a model."""
        return {"id": version, "created_at": _time(0), "cog_version": "0.9", "openapi_schema": {}}

    async def predict_with(self, owner: str, name: str, request: Request) -> Response:
        """Create a prediction of an official model."""
        return await self._create(f"{owner}/{name}", await request.json(), request)

    async def predict(self, request: Request) -> Response:
        """Create a prediction of a version."""
        body = await request.json()
        version = str(body.get("version", ""))
        named = next((name for name, each in COMMUNITY.items() if version.endswith(each)), None)
        if named is None:
            said = f"The version {version!r} does not exist"
            return _problem(422, "Invalid version or not permitted", said)
        return await self._create(named, body, request)

    async def _create(self, name: str, body: dict[str, Any], request: Request) -> Response:
        kind = next((kind for part, kind in _KINDS.items() if part in name), Kind.IMAGE)
        inputs = body.get("input")
        if not isinstance(inputs, dict) or not inputs.get("prompt"):
            return _problem(422, "Input validation failed", "- input: prompt is required")
        fault = self._vendor.fault("create", kind)
        if fault in _REFUSALS:
            return _refusal(self._vendor, fault)
        job = self._vendor.take(kind, name, inputs, body.get("webhook"))
        if body.get("webhook"):
            self._vendor.call_when_over(job, body["webhook"], _signed(request))
        if fault == "hang":
            await asyncio.sleep(3_600)
        return cut_off() if fault == "lose" else JSONResponse(_prediction(job, request), 201)

    async def prediction(self, job_id: str, request: Request) -> Response:
        """Show a prediction."""
        job = self._vendor.jobs.get(job_id)
        if job is None:
            return _problem(404, "Prediction not found", "The requested resource could not be found.")
        fault = self._vendor.fault("poll", job.kind)
        if fault in _REFUSALS:
            return _refusal(self._vendor, fault)
        if fault == "fail":
            job = self._vendor.jobs[job_id] = job.model_copy(update={"failed": True})
        instead: dict[str | None, dict[str, Any]] = {
            "expired": {"status": "succeeded", "output": None, "data_removed": True},
            "elsewhere": {"status": "succeeded", "output": ELSEWHERE},
        }
        if fault in instead:
            return JSONResponse(_prediction(job, request) | instead[fault])
        return JSONResponse(_prediction(job, request))

    async def every(self, request: Request) -> Any:
        """Show the newest predictions."""
        jobs = sorted(self._vendor.jobs.values(), key=lambda job: job.ready_at, reverse=True)
        return {"previous": None, "next": None, "results": [_prediction(job, request) for job in jobs[:100]]}

    async def cancel(self, job_id: str, request: Request) -> Response:
        """Stop a prediction."""
        self._vendor.cancel(job_id)
        return JSONResponse(_prediction(self._vendor.jobs[job_id], request))

    async def secret(self) -> Any:
        """Tell what webhooks are signed with."""
        return {"key": SECRET}

    async def upload(self, request: Request) -> Response:
        """Take a file that can be an input."""
        content: Any = (await request.form())["content"]
        data, name = await content.read(), f"file{len(self._vendor.uploads):06d}"
        self._vendor.uploads[name] = data
        about = {"id": name, "name": content.filename, "content_type": content.content_type, "etag": name}
        about |= {"checksums": {}, "metadata": {}, "created_at": _time(0), "expires_at": None}
        address = f"{request.base_url}v1/files/{name}"
        return JSONResponse({**about, "size": len(data), "urls": {"get": address}}, 201)

    async def delivery(self, job_id: str) -> Response:
        """Deliver what was made."""
        return await asyncio.to_thread(deliver, self._vendor, self._vendor.jobs[job_id])


def _prediction(job: Job, request: Request) -> dict[str, Any]:
    done = time.time() >= job.ready_at
    status = (
        "canceled" if job.cancelled else "failed" if job.failed else "succeeded" if done else "processing"
    )
    address = f"{request.base_url}delivery/{job.id}/output"
    output = ([address] if job.kind is Kind.IMAGE else address) if status == "succeeded" else None
    root = f"{request.base_url}v1/predictions/{job.id}"
    times = {"created_at": _time(job.ready_at), "started_at": _time(job.ready_at)}
    return {
        "id": job.id,
        "model": job.model,
        "version": COMMUNITY.get(job.model, "hidden"),
        "status": status,
        "output": output,
        "error": "CUDA out of memory" if job.failed else None,
        "logs": "",
        "source": "api",
        "input": {name: value for name, value in job.inputs.items() if not str(value).startswith("data:")},
        **times,
        "completed_at": _time(job.ready_at) if done else None,
        "metrics": {"predict_time": 1.0} if done else {},
        "urls": {"get": root, "cancel": f"{root}/cancel", "web": root},
        "data_removed": False,
    }


def _signed(request: Request) -> Signed:
    """Sign webhooks by Standard Webhooks 1.0, as replicate does."""

    def signed(job: Job, forged: bool) -> tuple[bytes, dict[str, str]]:
        body = json.dumps(_prediction(job, request))
        name, now = f"msg_{job.id}", datetime.now(UTC)
        signature = Webhook(FORGED if forged else SECRET).sign(name, now, body)
        headers = {"webhook-id": name, "webhook-timestamp": str(int(now.timestamp()))}
        return body.encode(), {**headers, "webhook-signature": signature, "content-type": "application/json"}

    return signed


_REFUSALS = ("refuse", "busy", "error", "funds")


def _refusal(vendor: Vendor, fault: str | None) -> Response:
    if fault == "busy":
        return vendor.busy()
    if fault == "refuse":
        return _problem(422, "Input validation failed", "- input.duration: must be one of 6, 10")
    if fault == "funds":
        return _problem(402, "Insufficient credit", _FUNDS)
    return Response("upstream connect error", 503)


def _problem(status: int, title: str, detail: str) -> Response:
    return JSONResponse({"title": title, "detail": detail, "status": status}, status)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    run(lambda vendor: FakeReplicate(vendor).app(), __doc__ or "")

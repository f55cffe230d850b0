"""A video names models by kind of work, where it named one provider; settings are those of that provider."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KINDS = ("image", "clip", "music")


def upgrade() -> None:
    """Rewrite requests and specs, and name the model on the rows of steps that a provider does."""
    connection = op.get_bind()
    videos = sa.table("videos", sa.column("id"), sa.column("request", sa.JSON), sa.column("spec", sa.JSON))
    raw = sa.select(videos.c.id, sa.cast(videos.c.request, sa.Text), sa.cast(videos.c.spec, sa.Text))
    for video_id, request, spec in connection.execute(raw).all():
        changed = {
            name: new
            for name, value, move in (("request", request, _request), ("spec", spec, _spec))
            if (new := _moved(value, move)) is not None
        }
        if changed:
            connection.execute(sa.update(videos).where(videos.c.id == video_id).values(changed))
    op.execute("UPDATE steps SET model = provider WHERE provider <> 'raypipe'")


def _moved(value: str | None, move: Any) -> Any:
    """Rewrite a JSON object; None leaves it as it is, as a broken one stays broken."""
    try:
        found = json.loads(value or "")
    except ValueError:
        return None
    return move(found) if isinstance(found, dict) else None


def _request(request: dict[str, Any]) -> dict[str, Any]:
    request = _draft(request)
    if isinstance(request.get("spec"), dict):
        request["spec"] = _draft(request["spec"])
    return request


def _draft(brief: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in brief.items() if name not in ("provider", "options")}
    provider, options = brief.get("provider"), brief.get("options")
    if provider:
        rest["model"] = [provider]
    if options:
        rest["options"] = {provider or "local": options}
    return rest


def _spec(spec: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in spec.items() if name not in ("provider", "options")}
    provider, options = spec.get("provider") or "local", spec.get("options")
    rest["models"] = {kind: [provider] for kind in _KINDS}
    rest["options"] = {provider: options} if options else {}
    return rest

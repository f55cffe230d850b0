"""The HTTP API, in the shape of OpenAI's videos API."""

from raypipe.api.app import create_app

__all__ = ["create_app"]

"""raypipe as a Ray Serve application, under the name of the checkout: `serve run serve_app:app`."""

from raypipe.serving import app

__all__ = ["app"]

"""The command line. What is heavy is imported inside the commands, so that `--help` is instant."""

from raypipe.cli.main import main

__all__ = ["main"]

"""Parsers given what Atheris (libFuzzer for Python) finds: `python -m tests.fuzz --seconds 60`."""

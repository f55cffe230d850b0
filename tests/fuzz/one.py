"""Fuzz one parser, in the folder where this is started, until it breaks or its time is over."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["raypipe"]):
    from .parsers import PARSERS, any_of_them, seeds


def main(name: str, *libfuzzer: str) -> None:
    """Fuzz a parser.

    Args:
        name: Of the parser.
        libfuzzer: Its options, and files or folders of inputs.
    """
    for number, seed in enumerate(seeds(name)):
        Path("corpus", str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], *libfuzzer], PARSERS.get(name, any_of_them))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

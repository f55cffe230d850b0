"""A program that decodes one picture from standard input, to see that it can be; it imports nothing of raypipe's.

It bounds its own memory and time first: what the picture does to the decoder it does to this process alone.
"""

import io
import resource
import sys

from PIL import Image


def main(memory: int, cpu_seconds: int, formats: list[str]) -> None:
    """Decode a picture; how the process ends says how it went."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Image.MAX_IMAGE_PIXELS = None  # whoever starts this has looked at its size
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=formats) as picture:
        picture.load()


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    except MemoryError:
        sys.exit("it takes too much memory")
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        sys.exit(str(error))

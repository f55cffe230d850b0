"""The arguments and options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

Prompt = Annotated[
    str | None, typer.Argument(metavar="PROMPT", help="What the video is about.", show_default=False)
]
Duration = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS", help="Length of the video, 5 to 300; 30 if left out.", show_default=False
    ),
]
Size = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Such as 1280x720, or one of 16:9, 9:16, 1:1.", show_default=False),
]
Style = Annotated[str | None, typer.Option(metavar="TEXT", help="Look of the pictures.", show_default=False)]
Mood = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Mood of colours and music.", show_default=False)
]
Seed = Annotated[
    str | None, typer.Option(metavar="NUMBER", help="The same seed gives the same video.", show_default=False)
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[KIND=]NAME",
        help="Who makes it, or its images, clips or music: clip=fal/... Given again, the next is tried where the one "
        "before cannot. See `raypipe models`.",
        show_default=False,
    ),
]
Options = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help="Settings by kind of work, provider or model, as a JSON object of objects.",
        show_default=False,
    ),
]
References = Annotated[
    list[Path] | None,
    typer.Option(
        "--reference",
        metavar="FILE",
        help="A picture of a character or product that all images are made from; PNG or JPEG, again for another.",
        show_default=False,
    ),
]
ClipSound = Annotated[
    bool,
    typer.Option("--clip-sound", help="Let sound that clips have be heard under the music."),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="storyboard",
        help="Stop for approval when its images are made; `raypipe continue` has the rest made.",
        show_default=False,
    ),
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Make a film without the beats that fail; it is partial.")
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="USD", help="What it may cost; it is not begun, or waits, at more.", show_default=False
    ),
]
SpecFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="A plan as `raypipe plan` prints it; - reads stdin.", show_default=False
    ),
]
VideoId = Annotated[str, typer.Argument(metavar="ID", help="An id, the beginning of one, or last.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write it, an .mp4 file or a folder; - is standard output. Left out: a new name made of the "
        "title.",
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace the output file if there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

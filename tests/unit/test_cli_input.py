"""What the command line accepts, and what it says of the rest; all of it without Ray."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from raypipe.cli import main
from raypipe.media.video import write_png

BEATS = {"beats": [{"prompt": "a harbour"}, {"prompt": "a boat"}]}


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The current folder of the command line; empty."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def raypipe(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the command line in this process, in an empty folder."""
    monkeypatch.setenv("RAYPIPE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(folder)

    def run(*args: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["raypipe", *args])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as exited:
            main()
        return Ran(int(exited.value.code or 0), *capsys.readouterr())

    return run


def plan_of(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    plan: dict[str, Any] = json.loads(ran.out)
    return plan


def test_a_plan_that_is_cut_short_says_so_without_naming_a_video_there_is_not(
    raypipe: Run, folder: Path
) -> None:
    (folder / "spec.json").write_text(json.dumps({"duration": 10, "beats": [{"prompt": "a"}] * 5}))
    ran = raypipe("plan", "--spec", "spec.json")
    assert ran.code == 0
    assert ran.err.startswith("Note: The plan has 5 beats in 10 s")
    assert "vid_" not in ran.err


def test_a_prompt_that_cannot_be_drawn_is_noted_by_plan(raypipe: Run) -> None:
    ran = raypipe("plan", "A football match")
    assert ran.code == 0
    assert ran.err == "Note: no picture for: football, match; drawing an abstract landscape\n"
    assert raypipe("plan", "A fox in the snow").err == ""


def test_a_full_disk_is_not_taken_for_an_output_that_cannot_be_printed_to(
    raypipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/raypipe")  # noqa: S108 - nothing is written

    monkeypatch.setattr("raypipe.cli.request.dry_plan", fail)
    ran = raypipe("plan", "A fox")
    assert ran.code == 1
    assert (
        ran.err == "Error: the disk is full: nothing can be written (/tmp/raypipe); make room and try again\n"
    )


BAD_OPTIONS = [
    ([], "PROMPT"),
    ([""], "PROMPT"),
    (["  \n"], "PROMPT"),
    (["x" * 4001], "PROMPT: must have at most 4000 characters"),
    (["\udcff"], "PROMPT: must be text in UTF-8"),
    (["x", "--duration", "0"], "--duration: must be at least 5, not 0"),
    (["x", "--duration", "-5"], "--duration"),
    (["x", "--duration", "10000"], "--duration: must be at most 300, not 10000"),
    (["x", "--duration", "nan"], "--duration"),
    (["x", "--duration", "ten"], "--duration: must be a number, not ten"),
    (["x", "--size", "-160x90"], "--size: width: must be at least 32, not -160"),
    (["x", "--size", "161x90"], "--size: width: must be a multiple of 2, not 161"),
    (["x", "--size", "99998x90"], "--size: width: must be at most 1920"),
    (["x", "--size", "huge"], "--size: must be WIDTHxHEIGHT"),
    (["x", "--style", ""], "--style: must not be empty"),
    (["x", "--mood", "m" * 81], "--mood: must have at most 80 characters"),
    (["x", "--seed", "-1"], "--seed: must be at least 0"),
    (["x", "--seed", "1.5"], "--seed: must be a whole number"),
    (["x", "--model", "nope"], "no provider 'nope'"),
    (["x", "--model", "film=local"], "'film' is no kind of work"),
    (["x", "--model", "clip=local/huge"], "no clip model 'local/huge'"),
    (["x", "--model", "clip="], "'clip=' names no model"),
    (["x", "--options", '{"simulated": {}}'], "options.simulated: it names neither"),
    (["x", "--options", "{"], "--options: this is not JSON"),
    (["x", "--options", "[" * 100_000], "--options: this is not JSON"),
    (["x", "--options", "[]"], "--options: a JSON object is needed"),
    (["x", "--model", "simulated", "--options", '{"simulated": {"nope": 1}}'], "options.simulated.nope"),
    (["x", "--spec", "missing.json"], "--spec: missing.json cannot be read"),
    (["x", "--spec", "."], "--spec: . cannot be read"),
]

BAD_SPECS = [
    (b"", "--spec"),
    (b"{", "--spec"),
    (b"\xff\xfe{}", "--spec"),
    (b"null", "--spec"),
    (b"[]", "--spec"),
    (b"[" * 1_000_000, "--spec"),
    (b"{}", "beats: is missing"),
    ({"beats": []}, "beats: must not be empty"),
    ({"beats": 3}, "beats: must be a list, not 3"),
    ({"beats": [{"prompt": "a"}], "colour": "red"}, "colour: is no known field"),
    ({"beats": [{"prompt": "a"}, {"prompt": 5}]}, "beats.1.prompt: must be text, not 5"),
    ({"beats": [{"prompt": "a", "duration": "long"}]}, "beats.0.duration: must be a number, not long"),
    ({"beats": [{"prompt": "a", "continues": True}]}, "Beat 0 has no reference image"),
    (
        {"beats": [{"prompt": "a", "reference_image": "no.png"}]},
        "beats.0.reference_image: no.png cannot be read",
    ),
    ({"beats": [{"prompt": "a", "reference_image": "spec.json"}]}, "is no PNG or JPEG picture"),
    ({"beats": [{"prompt": "a", "reference_image": "data:image/png;base64,AAAA"}]}, "beat 0"),
    ({"beats": [{"prompt": "a", "reference_image": "nul\0.png"}]}, "beats.0.reference_image"),
    ({"beats": [{"prompt": "p" * 10_000_000}]}, "beats.0.prompt: must have at most 4000 characters"),
    ({"beats": [{"prompt": "a"}] * 1_000_000}, "beats: must have at most 1000 entries"),
    ({"size": "16:10", **BEATS}, "size: must be WIDTHxHEIGHT"),
    ({"model": "nope", **BEATS}, "no provider 'nope'"),
]


def assert_one_sentence(ran: Ran, said: str, *folders: Path) -> None:
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("Error: ")
    assert ran.err.count("\n") == 1, ran.err
    assert said in ran.err
    assert len(ran.err) < 400
    left = [path for folder in folders for path in folder.rglob("*") if path.name != "spec.json"]
    assert not left, "nothing must be left behind"


@pytest.mark.parametrize(
    ("args", "said"), BAD_OPTIONS, ids=[" ".join(a)[:40] or "none" for a, _ in BAD_OPTIONS]
)
@pytest.mark.parametrize("command", ["plan", "generate"])
def test_a_bad_option_is_named_in_one_sentence(
    raypipe: Run, tmp_path: Path, command: str, args: list[str], said: str
) -> None:
    assert_one_sentence(raypipe(command, *args), said, tmp_path / "data", tmp_path / "here")


@pytest.mark.parametrize(
    ("budget", "said"), [("much", "a number, not much"), ("-1", "at least 0"), ("nan", "a finite number")]
)
def test_a_budget_that_is_none_is_named_in_one_sentence(raypipe: Run, budget: str, said: str) -> None:
    assert_one_sentence(raypipe("continue", "last", "--budget", budget), f"--budget: must be {said}")


@pytest.mark.parametrize(("spec", "said"), BAD_SPECS, ids=range(len(BAD_SPECS)))
def test_a_bad_spec_is_refused_with_the_field_that_is_wrong(
    raypipe: Run, folder: Path, tmp_path: Path, spec: Any, said: str
) -> None:
    data = spec if isinstance(spec, bytes) else json.dumps(spec).encode()
    (folder / "spec.json").write_bytes(data)
    assert_one_sentence(raypipe("generate", "--spec", "spec.json"), said, tmp_path / "data", folder)


@pytest.mark.parametrize(
    ("output", "said"),
    [("missing/out.mp4", "the folder missing does not exist"), ("/dev/null", "no ordinary file")],
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_made(
    raypipe: Run, tmp_path: Path, output: str, said: str
) -> None:
    assert_one_sentence(raypipe("generate", "x", "-o", output), said, tmp_path / "data", tmp_path / "here")


def test_a_bad_setting_is_named(raypipe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_ACTIVE_VIDEOS", "many")
    assert_one_sentence(raypipe("plan", "x"), "RAYPIPE_ACTIVE_VIDEOS: must be a whole number, not many")


def test_a_plan_is_accepted_back_unchanged(raypipe: Run, folder: Path) -> None:
    plan = plan_of(raypipe("plan", "A fox in the snow", "--duration", "30", "--size", "9:16", "--seed", "7"))
    assert plan["size"] == "720x1280"
    assert sum(beat["duration"] for beat in plan["beats"]) == pytest.approx(30)
    (folder / "plan.json").write_text(json.dumps(plan))
    assert plan_of(raypipe("plan", "--spec", "plan.json")) == plan
    assert plan_of(raypipe("plan", "--spec", "-", stdin=json.dumps(plan).encode())) == plan


def test_an_edited_plan_keeps_the_edits_and_options_override_it(raypipe: Run, folder: Path) -> None:
    plan = plan_of(raypipe("plan", "A fox in the snow", "--duration", "10"))
    plan["beats"][0] |= {"prompt": "a very red fox", "duration": 7}
    plan["title"] = "Redder"
    (folder / "plan.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(plan).encode())
    again = plan_of(raypipe("plan", "--spec", "plan.json", "--mood", "tense"))
    assert again["title"] == "Redder"
    assert again["beats"][0]["prompt"] == "a very red fox"
    assert again["mood"] == "tense"


def test_planning_leaves_nothing_behind(raypipe: Run, folder: Path, tmp_path: Path) -> None:
    plan_of(raypipe("plan", "A fox in the snow"))
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "data").exists()


def test_beats_that_are_cut_are_mentioned(raypipe: Run, folder: Path) -> None:
    spec = {"duration": 10, "beats": [{"prompt": f"beat {i}"} for i in range(5)]}
    (folder / "spec.json").write_text(json.dumps(spec))
    ran = raypipe("plan", "--spec", "spec.json")
    assert len(plan_of(ran)["beats"]) == 2
    assert ran.err.startswith("Note: ")


def test_a_reference_image_is_found_next_to_the_spec_and_named_in_the_plan(
    raypipe: Run, folder: Path
) -> None:
    (folder / "specs").mkdir()
    (folder / "specs" / "fox.png").write_bytes(write_png(np.zeros((36, 64, 3), np.uint8)))
    spec = {"beats": [{"prompt": "a"}, {"prompt": "b", "reference_image": "fox.png"}]}
    (folder / "specs" / "spec.json").write_text(json.dumps(spec))
    plan = plan_of(raypipe("plan", "--spec", "specs/spec.json"))
    assert plan["beats"][1]["reference_image"] == str(folder / "specs" / "fox.png")
    assert "reference_image" not in plan["beats"][0]


def test_reference_pictures_stay_in_the_plan_and_are_found_next_to_the_spec(
    raypipe: Run, folder: Path
) -> None:
    (folder / "specs").mkdir()
    for name in ("fox.png", "specs/owl.png"):
        (folder / name).write_bytes(write_png(np.zeros((36, 64, 3), np.uint8)))
    plan = plan_of(raypipe("plan", "A fox", "--reference", "fox.png"))
    assert plan["reference_pictures"] == [str(folder / "fox.png")]
    (folder / "specs" / "spec.json").write_text(json.dumps(plan | {"reference_pictures": ["owl.png"]}))
    again = raypipe("plan", "--spec", "specs/spec.json")
    assert plan_of(again)["reference_pictures"] == [str(folder / "specs" / "owl.png")]
    assert "'local' takes none of the 1 reference pictures" in again.err
    missing = plan | {"reference_pictures": ["cat.png"]}
    (folder / "specs" / "spec.json").write_text(json.dumps(missing))
    assert "reference_pictures.0: cat.png cannot be read" in raypipe("plan", "--spec", "specs/spec.json").err
    ran = raypipe("plan", "A fox", *["--reference", "fox.png"] * 9)
    assert ran.err.startswith("Error: --reference: ")


def test_without_a_journal_there_are_no_videos_and_none_is_made(raypipe: Run, tmp_path: Path) -> None:
    assert "no videos yet" in raypipe("list").out
    assert json.loads(raypipe("list", "--json").out) == []
    for command in ("show", "timeline"):
        for video_id in ("last", "vid_1", "", "no such"):
            ran = raypipe(command, video_id)
            assert ran.code == 1
            assert ran.err.startswith("Error: There is no video")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RAYPIPE_LIMITS", "nope", "must be JSON"),
        ("RAYPIPE_LIMITS", '{"fal": {"in_flight": 0}}', "at least 1"),
        ("RAYPIPE_LIMITS", '{"fal": {"in_flight": 0}}', "fal: in_flight: must"),
        ("RAYPIPE_DAILY_BUDGET", "much", "must be a number"),
        ("RAYPIPE_DAILY_BUDGET", "inf", "finite"),
        ("RAYPIPE_FAL_URL", "queue.fal.run", "must be an address that begins with http:// or https://"),
        ("RAYPIPE_FAL_URL", "http://", "must be an address"),
        ("RAYPIPE_ON_UNKNOWN", "shrug", "hold"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    raypipe: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    ran = raypipe("list")
    assert ran.code == 2
    assert ran.err.startswith(f"Error: {name}: ")
    assert said in ran.err


def test_a_journal_that_cannot_be_opened_is_said_to_be_so(
    raypipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYPIPE_JOURNAL", "nope://nowhere")
    ran = raypipe("list")
    assert ran.code == 1
    assert ran.err.startswith("Error: The journal at nope://nowhere cannot be opened")


def test_the_models_there_are_are_listed_with_what_they_cost(raypipe: Run) -> None:
    out = [line.split() for line in raypipe("models").out.splitlines()]
    assert ["clip", "local", "free", "any", "length"] in [line[:5] for line in out]
    assert ["music", "simulated", "not", "known"] in [line[:4] for line in out]
    assert ["image", "replicate/black-forest-labs/flux-schnell", "$0.003/run", "missing"] in out
    assert out[-1][-1] == "REPLICATE_API_TOKEN"


def test_help_has_examples_and_the_version_is_told(raypipe: Run) -> None:
    out = raypipe("--help").out
    for said in ("raypipe generate", "raypipe plan", "--spec", "RAYPIPE_DATA_DIR"):
        assert said in out
    assert raypipe("--version").out.startswith("raypipe ")

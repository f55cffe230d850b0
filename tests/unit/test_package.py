"""What the package promises of itself."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import raypipe

ROOT = Path(__file__).parents[2]


def test_public_names_are_sorted_and_all_there() -> None:
    assert raypipe.__all__ == sorted(raypipe.__all__)
    for name in raypipe.__all__:
        assert getattr(raypipe, name) is not None


def test_importing_the_package_does_not_import_ray_or_av() -> None:
    code = "import raypipe, sys; print([m for m in ('ray', 'av', 'fastapi') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_environment_is_read_in_one_file() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "raypipe").rglob("*.py")
        if re.search(r"os\.(environ|getenv)|BaseSettings", path.read_text())
    ]
    assert readers == ["raypipe/config.py"]


def test_every_error_is_in_the_tree_at_the_top_of_its_file() -> None:
    from raypipe import errors

    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    for error in classes:
        assert error.__name__ in (errors.__doc__ or ""), error
        assert error.__doc__
    codes = [error.code for error in classes]
    assert len(set(codes)) == len(codes)


def test_every_setting_is_documented() -> None:
    documented = (ROOT / "docs" / "operations.md").read_text()
    for name in raypipe.Settings.model_fields:
        variable = "RAY_ADDRESS" if name == "ray_address" else f"RAYPIPE_{name.upper()}"
        assert f"`{variable}`" in documented, variable


def test_the_serve_application_is_in_the_package_and_serve_app_is_its_name_in_the_checkout() -> None:
    spec = importlib.util.find_spec("raypipe.serving")
    assert spec is not None
    assert Path(spec.origin or "").parent == Path(raypipe.__file__).parent
    code = "import serve_app, raypipe.serving; print(serve_app.app is raypipe.serving.app)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"

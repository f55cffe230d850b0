"""The studio in a real Chromium: what a person does there, what they see, and that everybody can use it."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.patience import patience

from .conftest import Service
from .serving import api
from .test_cli import raypipe

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
#: findings of axe that keep somebody from using a page
SERIOUS = ("serious", "critical")
QUICK = {"image": 0.1, "clip": [0.3, 0.2], "music": 0.1}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        assert "CI" not in os.environ, "no Chromium is installed"
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    with opened(browser, service) as page:
        yield page


@pytest.fixture(autouse=True, scope="session")
def _patient_expectations() -> None:
    expect.set_options(timeout=patience(5_000))


@contextmanager
def opened(browser: Browser, service: Service, **how: Any) -> Iterator[Page]:
    """The studio in a window of its own, in which nothing may go wrong."""
    context = browser.new_context(base_url=service.url, **{"viewport": {"width": 1280, "height": 860}, **how})
    context.set_default_timeout(patience(30_000))
    page, problems = context.new_page(), []
    page.on(
        "console",
        lambda said: problems.append((said.text, said.location["url"])) if said.type == "error" else None,
    )
    page.on("pageerror", lambda error: problems.append((str(error), page.url)))
    page.goto("/")
    yield page
    context.close()
    assert [each for each in problems if not was_deleted(*each)] == []


def was_deleted(said: str, url: str) -> bool:
    """Tell whether Chromium only says that a film is not there, which was deleted while the page asked for it."""
    film = re.match(r".*/v1/videos/vid_[^/?]*", url)
    return "404" in said and film is not None and httpx.get(film[0]).status_code == 404


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=patience(30)) as opened:
        yield opened


def over(client: httpx.Client, video_id: str) -> dict[str, Any]:
    """Return a film when nothing of it is being made any more."""
    deadline = time.monotonic() + patience(30)
    while (film := client.get(f"/v1/videos/{video_id}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return dict(film)


def made(client: httpx.Client, seconds: int = 10, wait: int = 20, **options: Any) -> str:
    """Have a film made by the simulated provider, and return its id."""
    options = {"simulated": {**QUICK, **options}}
    body = {"prompt": "A storm", "seconds": seconds, "model": "simulated", "options": options}
    answer = client.post("/v1/videos", json=body, headers={"Prefer": f"wait={wait}"})
    return str(answer.json()["id"])


def serious(page: Page) -> list[str]:
    """Return what keeps somebody from using the page as it is."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html']:.200}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


def test_a_prompt_becomes_a_plan_that_is_changed_and_a_film_that_plays(page: Page) -> None:
    page.get_by_label("What is it about?").fill("A fox in the snow")
    page.get_by_label("Length, seconds").fill("10")
    page.get_by_role("button", name="Plan it").click()
    page.get_by_label("What beat 2 shows").fill("A lighthouse at night")
    assert serious(page) == []
    page.get_by_role("button", name="Make the film").click()
    expect(page).to_have_url(re.compile("#/films/vid_"))
    expect(page.get_by_role("img", name=re.compile("^Storyboard image of beat 2"))).to_be_visible(
        timeout=patience(30_000)
    )
    page.reload()  # half-way: nothing is lost
    expect(page.get_by_text("A lighthouse at night", exact=True)).to_be_visible()
    film = page.locator(".screen video")
    expect(film).to_be_visible(timeout=patience(60_000))
    page.get_by_role("button", name=re.compile("^2 · 0:05")).click()
    deadline = time.monotonic() + patience(20)
    while film.evaluate("film => film.currentTime") < 5.2:
        assert time.monotonic() < deadline, "it does not play"
        page.wait_for_timeout(100)
    expect(page.get_by_role("button", name=re.compile("^2 · 0:05"))).to_have_attribute("aria-current", "true")
    assert film.evaluate("film => film.duration") == pytest.approx(10, abs=0.1)
    assert serious(page) == []


def test_a_film_is_cancelled_and_made_after_all(page: Page, client: httpx.Client) -> None:
    video_id = made(client, wait=0, clip=[4.0, 0.2])
    page.goto(f"/#/films/{video_id}")
    expect(page.locator(".beat .state").first).to_have_text("clip in the making", timeout=patience(15_000))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("article > div .state").first).to_have_text("cancelled", timeout=patience(15_000))
    expect(page.get_by_text("failed")).to_have_count(0)
    expect(page.locator(".beat .state").first).to_have_text("clip cancelled")
    page.get_by_role("button", name="Try again", exact=True).click()
    expect(page.locator(".screen video")).to_be_visible(timeout=patience(30_000))


def test_a_storyboard_is_approved_and_a_beat_made_anew_before_that(page: Page, client: httpx.Client) -> None:
    body = {"prompt": "A storm", "seconds": 10, "model": "simulated", "options": {"simulated": QUICK}}
    answer = client.post("/v1/videos", json={**body, "until": "storyboard"}, headers={"Prefer": "wait=20"})
    page.goto(f"/#/films/{answer.json()['id']}")
    expect(page.get_by_text("waits for your approval").first).to_be_visible()
    page.get_by_role("button", name="Make beat 1 anew").click()
    page.get_by_label("What beat 1 shows").fill("A whale")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_label("Take of beat 1")).to_be_visible(timeout=patience(20_000))
    page.get_by_role("button", name="Make the clips").click()
    expect(page.locator(".screen video")).to_be_visible(timeout=patience(30_000))
    page.get_by_label("Take of beat 1").select_option("1")
    expect(page.locator(".beat").first.locator(".shows")).not_to_have_text(
        "A whale", timeout=patience(20_000)
    )
    expect(page.locator(".screen video")).to_be_visible(timeout=patience(30_000))


def test_a_film_that_has_used_its_budget_goes_on_with_another(page: Page, client: httpx.Client) -> None:
    lost = {**QUICK, "price": 0.1, "lose": {"chunk/0": 2}, "finds": False}
    body = {
        "prompt": "A storm",
        "seconds": 10,
        "model": "simulated",
        "options": {"simulated": lost},
        "budget": 0.5,
    }
    film = client.post("/v1/videos", json=body, headers={"Prefer": "wait=20"}).json()
    for _ in range(2):
        assert film["state"] == "failed", "nobody knows what became of its first clip"
        client.post(f"/v1/videos/{film['id']}/retry", params={"resubmit": True}).raise_for_status()
        film = over(client, film["id"])
    page.goto(f"/#/films/{film['id']}")
    expect(page.locator("article > div .state").first).to_have_text("waiting", timeout=patience(15_000))
    expect(page.get_by_text("budget is $0.50").first).to_be_visible()
    expect(page.locator(".why").first).to_have_text(
        "Beat 1 waits: why is said there. 0 of 2 clips are made and kept."
    )
    expect(page.get_by_text("clip waiting")).to_have_count(2)
    expect(page.get_by_text("failed")).to_have_count(0)
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.default_value), dialog.dismiss()))
    page.get_by_role("button", name="Go on").click()
    page.once("dialog", lambda dialog: dialog.accept("0.8"))
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".screen video")).to_be_visible(timeout=patience(30_000))
    assert asked == ["0.5"]
    assert client.get(f"/v1/videos/{film['id']}").json()["spec"]["budget"] == 0.8


def test_what_failed_is_said_at_the_beat_that_failed(page: Page, client: httpx.Client) -> None:
    video_id = made(client, fail={"chunk/1": "the model ran out of paint"})
    page.goto(f"/#/films/{video_id}")
    second = page.locator(".beat").nth(1)
    expect(second.get_by_text("the model ran out of paint")).to_be_visible()
    expect(page.locator(".beat").nth(0).get_by_text("clip done in")).to_be_visible()
    expect(page.locator(".why").first).to_have_text(
        "Beat 2 failed: why is said there. 1 of 2 clips are made and kept."
    )
    assert serious(page) == []
    page.get_by_role("button", name="Make it without what failed").click()
    film = page.locator(".screen video")
    expect(film).to_be_visible(timeout=patience(20_000))
    expect(page.get_by_text("5 of 10 s")).to_be_visible()
    expect(page.get_by_role("button", name="1 · 0:00")).to_be_visible()
    expect(page.get_by_role("button", name="2 · ")).to_have_count(0)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile("#/$"))
    assert client.get(f"/v1/videos/{video_id}").status_code == 404


def test_the_list_is_of_all_films_and_is_always_true(page: Page, client: httpx.Client) -> None:
    before = client.get("/v1/videos", params={"limit": 100}).json()["data"]
    for _ in range(max(0, 32 - len(before))):
        made(client, seconds=5, wait=0)
    video_id = made(client, seconds=5)
    entry = page.locator(f'a[href="#/films/{video_id}"]')
    expect(entry).to_be_visible(timeout=patience(15_000))
    expect(entry).to_contain_text("completed", timeout=patience(15_000))
    page.reload()
    page.get_by_role("button", name="Older films").click()
    expect(page.locator("#reel li").nth(31)).to_be_attached()
    page.goto(f"/#/films/{video_id}")
    expect(page.locator(".screen video")).to_be_visible(timeout=patience(15_000))
    client.delete(f"/v1/videos/{video_id}")  # in another window
    expect(page.get_by_text("There is no such film.")).to_be_visible(timeout=patience(15_000))
    expect(entry).to_have_count(0, timeout=patience(15_000))


@pytest.mark.parametrize("colours", ["dark", "light"])
def test_it_can_be_used_on_a_phone_by_keyboard_in_light_and_dark(
    browser: Browser, service: Service, client: httpx.Client, colours: str
) -> None:
    video_id = made(client)
    phone = {"viewport": {"width": 375, "height": 720}, "color_scheme": colours, "reduced_motion": "reduce"}
    with opened(browser, service, **phone) as page:
        expect(page.get_by_label("What is it about?")).to_be_focused()
        page.keyboard.type("A boat")
        assert serious(page) == []
        page.goto(f"/#/films/{video_id}")
        expect(page.locator(".screen video")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert serious(page) == []
        page.get_by_role("button", name="Make beat 1 anew").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_label("What beat 1 shows")).to_be_focused()


def test_the_page_takes_nothing_from_elsewhere_and_is_framed_by_nobody(client: httpx.Client) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", answer.text)
    for name in re.findall(r"studio/[\w.]+", answer.text):
        assert client.get(f"/{name}").status_code == 200
    assert client.get("/studio/../app.py").status_code == 404
    assert client.get("/studio/%2e%2e/app.py").status_code == 404


def test_who_needs_a_key_is_asked_for_it_once(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    key = raypipe(tmp_path / "data", "keys", "create", "ada").stdout.strip()
    with api(tmp_path, RAYPIPE_REQUIRE_KEYS="true") as url:
        page = browser.new_page(base_url=url)
        page.goto("/")
        expect(page.get_by_role("heading", name="This studio needs a key")).to_be_visible()
        assert serious(page) == []
        page.get_by_label("Key").fill("rp_wrong")
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_role("alert")).to_have_text("This key is unknown or revoked.")
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Enter").click()
        page.get_by_label("What is it about?").fill("A fox in the snow")
        page.get_by_role("button", name="Plan it").click()
        expect(page.get_by_label("What beat 2 shows")).to_be_visible()
        assert key not in page.evaluate("document.cookie + JSON.stringify(localStorage)")
        page.reload()
        expect(page.get_by_label("What is it about?")).to_be_visible()
        page.close()

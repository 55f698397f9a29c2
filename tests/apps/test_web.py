"""`codi web` in a real headless Chromium, on the debug bundle."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from codi.modalities.audio import media as audio  # noqa: E402
from codi.modalities.image import media as image  # noqa: E402
from tests import samples  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def address(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the debug bundle."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "codi.apps.cli", "web", "--model", str(bundle), "--port", str(port)]
    log = (tmp_path_factory.mktemp("web") / "log").open("w")
    with subprocess.Popen(command, stdout=log, stderr=log) as server:
        found = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(found, timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield found
        server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    opened = browser.new_page()
    opened.set_default_timeout(60_000)
    opened.goto(address, wait_until="domcontentloaded")
    opened.wait_for_selector("#make")
    yield opened
    opened.close()


def choose(page: Any, outputs: set[str]) -> None:
    for name in ("text", "image", "audio", "video"):
        page.locator("#outputs").get_by_label(name, exact=True).set_checked(name in outputs)


def settings(page: Any, steps: int, seed: int = 0) -> None:
    page.get_by_role("button", name="Settings ").first.click()
    page.locator("#steps input[type=number]").fill(str(steps))
    page.locator("#steps input[type=number]").press("Tab")
    page.locator("#seed input").fill(str(seed))
    page.locator("#seed input").press("Tab")


def told(page: Any, text: str) -> str:
    page.locator("#status").get_by_text(text).first.wait_for()
    return str(page.locator("#status").inner_text())


def test_a_text_gives_all_four_together(page: Any) -> None:
    page.fill("#prompt textarea", "a small red circle bouncing")
    choose(page, {"text", "image", "audio", "video"})
    settings(page, 5, seed=7)
    page.click("#make")
    assert "with seed 7" in told(page, "made ")
    for name in ("image", "audio", "video", "files"):
        page.locator(f"#{name}").wait_for(state="visible")
    assert page.locator("#files").inner_text().count("⇣") == 4
    page.wait_for_function("document.querySelector('#video video').readyState >= 2")
    assert page.evaluate("document.querySelector('#video video').videoWidth") == 64


def test_a_picture_and_a_standing_sound_prompt_a_clip(page: Any, tmp_path: Path) -> None:
    image.write(samples.picture(), tmp_path / "cat.png", None)
    audio.write(samples.clicks(rate=44_100, channels=2), tmp_path / "hit.wav", None)
    page.set_input_files("#dropped input[type=file]", [tmp_path / "cat.png", tmp_path / "hit.wav"])
    page.locator("#dropped").get_by_text("hit").first.wait_for()
    page.locator("#stand").get_by_label("audio", exact=True).check()
    choose(page, {"video"})
    settings(page, 2)
    page.click("#make")
    assert "made video.mp4" in told(page, "made ")


def test_stop_ends_it_and_the_next_one_runs(page: Any) -> None:
    page.fill("#prompt textarea", "a ball")
    settings(page, 100)
    page.click("#make")
    page.locator("#status progress").first.wait_for()
    page.click("#stop")
    told(page, "stopped; nothing was written")
    page.locator("#steps input[type=number]").fill("1")
    page.locator("#steps input[type=number]").press("Tab")
    page.click("#make")
    told(page, "made ")


def test_a_bad_file_gives_a_readable_message(page: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    page.set_input_files("#dropped input[type=file]", [tmp_path / "broken.png"])
    page.locator("#dropped").get_by_text("broken").first.wait_for()
    page.click("#make")
    page.locator("#status [role=alert]").wait_for()
    message = page.locator("#status").inner_text()
    assert message.startswith("broken.png: ") and "\n" not in message.strip()


def test_a_recipe_is_loaded_from_a_dropped_file(page: Any, tmp_path: Path) -> None:
    kept = {
        "model": "codi-mini",
        "inputs": [{"modality": "text", "value": "a star"}, {"modality": "image", "path": "a/cat.png", "sha256": ""}],
        "outputs": ["image"],
        "parameters": {"seed": 42, "num_inference_steps": 3, "guidance_scale": {"image": 2.0}, "bridge_scale": {}},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(kept))
    page.get_by_role("button", name="Settings ").first.click()
    page.set_input_files("#recipe input[type=file]", [tmp_path / "recipe.json"])
    assert "drop these again: cat.png" in told(page, "recipe loaded")
    assert page.locator("#prompt textarea").input_value() == "a star"
    assert page.locator("#seed input").input_value() == "42"


def test_nothing_outside_its_own_folder_is_handed_out(address: str) -> None:
    for path in (Path(__file__), Path("/etc/passwd"), Path(__file__).parents[2] / "pyproject.toml"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/gradio_api/file={path}", timeout=30)
        assert refused.value.code in (403, 404)

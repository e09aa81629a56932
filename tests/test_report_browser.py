"""The report in a real browser: what it predicts, how it is operated, and what it must not do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from typer.testing import CliRunner

from t2m_bayes import cli, fits
from t2m_bayes.fits import Fit
from t2m_bayes.report import render, write
from t2m_bayes.report.calculator import TILES
from t2m_bayes.resources import shipped

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium or Chrome on this machine (Debian: apt install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Playwright starts it headless, with a new empty profile that it removes again.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(
    small_fit_folder: Path, wide_fit: Fit, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path]]:
    """The pages of three fits, each with the folder of its fit."""
    folder = tmp_path_factory.mktemp("reports")
    return {
        name: (write(render(fits.load(fit), fit), folder / f"{name}.html"), fit)
        for name, fit in (
            ("small", small_fit_folder),
            ("wide", fits.save(wide_fit, folder / "wide")),
            ("reference", shipped("models") / "reference"),
        )
    }


@pytest.fixture
def small(browser: Browser, reports: dict[str, tuple[Path, Path]]) -> Iterator[Page]:
    yield from opened(browser, reports["small"][0])


def opened(browser: Browser, path: Path, **context: object) -> Iterator[Page]:
    """Open a page; when it is closed it must have asked for nothing and complained of nothing."""
    page = browser.new_page(**context)
    asked: list[str] = []
    said: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        said.append(f"{message.type}: {message.text}")

    page.on("request", lambda request: asked.append(request.url))
    page.on("console", heard)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert asked == [path.as_uri()]
    assert said == []


def ask(page: Page, request: dict[str, object]) -> dict[str, dict[str, float]]:
    """Fill in the calculator and return its bands."""
    for name in ("llm", "device"):
        page.select_option(f"#{name}", str(request[name]))
    page.check(f"input[name=session][value={request['session']}]")
    for name in ("input_tokens", "output_tokens", "percent"):
        page.fill(f"#{name}", str(request[name]))
    bands: dict[str, dict[str, float]] = {}
    for cell in page.query_selector_all("#bands data"):
        metric, bound = cell.get_attribute("data-metric"), cell.get_attribute("data-bound")
        bands.setdefault(str(metric), {})[str(bound)] = float(str(cell.get_attribute("value")))
    return bands


def told(fit: Path, request: dict[str, object]) -> dict[str, dict[str, float]]:
    """Return what ``t2m predict --json`` says of the same request."""
    words = ["predict", "--json", "--fit", fit, "--model", request["llm"]]
    words += ["--device", request["device"], "--session", request["session"]]
    words += ["--input-tokens", request["input_tokens"]]
    words += ["--output-tokens", request["output_tokens"]]
    words += ["--prob", float(str(request["percent"])) / 100]
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    metrics: dict[str, dict[str, float]] = json.loads(result.stdout)["metrics"]
    return metrics


ORIN = "jetson-agx-orin-64gb"
REQUESTS = {
    "small": [
        ("DSR1-Llama-8B", "tegra", 100, 50, 90, "new"),
        ("DSR1-Llama-8B", "tegra", 100, 50, 90, "same"),
        ("DSR1-Qwen-1.5B", "server", 700, 1, 50, "new"),
        ("DSR1-Qwen-1.5B", "tegra", 8_192, 2, 98, "new"),
    ],
    "wide": [
        ("DSR1-Llama-8B", "wide-board", 100, 400, 90, "same"),  # octaves that were read
        ("DSR1-Llama-8B", "wide-board", 7_000, 900, 90, "new"),  # one that was not
    ],
    "reference": [
        ("DSR1-Qwen-1.5B", ORIN, 129, 700, 90, "same"),  # a stair with a level of its own
        ("DSR1-Llama-8B", ORIN, 1, 1, 90, "new"),
        ("DSR1-Llama-8B", ORIN, 512, 1_000, 98, "same"),  # slow runs draw less
        ("DSR1-Llama-8B", ORIN, 2_000, 300, 95, "new"),  # a tile another LLM was measured in
        ("DSR1-Qwen-14B", ORIN, 740, 3_000, 80, "new"),  # a tile that nobody was measured in
        ("DSR1-Qwen-14B", ORIN, 6_000, 128, 90, "same"),  # beyond all measured prompts
    ],
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_calculator_says_what_predict_says(
    name: str, browser: Browser, reports: dict[str, tuple[Path, Path]]
) -> None:
    path, fit = reports[name]
    keys = ("llm", "device", "input_tokens", "output_tokens", "percent", "session")
    for page in opened(browser, path):
        for values in REQUESTS[name]:
            request = dict(zip(keys, values, strict=True))
            answer, expected = ask(page, request), told(fit, request)
            assert list(answer) == list(expected)
            for metric, bounds in answer.items():
                for bound, value in bounds.items():
                    assert value == pytest.approx(expected[metric][bound], rel=0.01), (
                        request,
                        metric,
                        bound,
                    )


def test_prompts_beyond_the_exported_tiles_agree_to_monte_carlo_error(
    browser: Browser, reports: dict[str, tuple[Path, Path]]
) -> None:
    path, fit = reports["reference"]
    request: dict[str, object] = {"llm": "DSR1-Llama-8B", "device": ORIN, "session": "new"}
    request |= {"input_tokens": 64 * TILES + 1000, "output_tokens": 10, "percent": 80}
    for page in opened(browser, path):
        answer, expected = ask(page, request)["prefill_s"], told(fit, request)["prefill_s"]
        width = expected["upper"] - expected["lower"]
        for bound, value in answer.items():
            assert abs(value - expected[bound]) < 0.15 * width
        assert "outside the measured" in page.inner_text("#warnings")


def test_it_works_by_keyboard(small: Page) -> None:
    small.keyboard.press("Tab")
    assert small.evaluate("document.activeElement.className") == "skip"
    small.keyboard.press("Enter")
    reached = []
    for _ in range(8):
        small.keyboard.press("Tab")
        reached.append(small.evaluate("document.activeElement.name || document.activeElement.id"))
    assert reached[:7] == [
        *("llm", "device", "input_tokens", "output_tokens", "percent", "metric", "session")
    ]
    before = small.inner_text("#answer")
    small.focus("#llm")
    small.keyboard.press("ArrowDown")
    for name, keys in (("input_tokens", "512"), ("output_tokens", "64")):
        small.focus(f"#{name}")
        small.keyboard.press("Control+A")
        small.keyboard.type(keys)
    small.focus("input[name=session][value=new]")
    small.keyboard.press("ArrowDown")
    assert small.inner_text("#answer") != before
    command = small.inner_text("#command")
    assert "--model DSR1-Llama-8B" in command
    assert "--input-tokens 512 --output-tokens 64" in command
    assert "--session same" in command


def test_the_focus_can_be_seen(small: Page) -> None:
    for selector in ("#llm", "#input_tokens", "nav a", "summary"):
        small.focus(selector)
        small.keyboard.press("Shift+Tab")
        small.keyboard.press("Tab")
        style = small.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style == "solid", selector


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, PHONE["width"]])
def test_axe_finds_nothing(
    scheme: str, width: int, browser: Browser, reports: dict[str, tuple[Path, Path]]
) -> None:
    size = {"width": width, "height": 900}
    for page in opened(browser, reports["small"][0], viewport=size, color_scheme=scheme):
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_phone_needs_no_sideways_scrolling(
    browser: Browser, reports: dict[str, tuple[Path, Path]]
) -> None:
    for page in opened(browser, reports["reference"][0], viewport=PHONE):
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
        right = "document.querySelector('{}').getBoundingClientRect().right"
        for answer in ("54.7 ms", "12 min 34 s"):
            cells = "document.querySelectorAll('#bands td').forEach(e => e.textContent = {})"
            page.evaluate(cells.format(repr(answer)))
            assert page.evaluate(right.format(".bands")) <= page.evaluate(right.format(".answer"))


@pytest.mark.parametrize("value", ["0", "1.5", "-3", ""])
def test_a_field_that_cannot_be_used_is_named(value: str, small: Page) -> None:
    small.fill("#input_tokens", value)
    assert small.get_attribute("#input_tokens", "aria-invalid") == "true"
    assert "whole number" in small.inner_text("#input_tokens-error")
    assert not small.is_visible("#result")
    small.fill("#input_tokens", "64")
    assert small.is_visible("#result")
    assert small.inner_text("#input_tokens-error") == ""


def test_without_scripts_it_still_reads(
    browser: Browser, reports: dict[str, tuple[Path, Path]]
) -> None:
    for page in opened(browser, reports["small"][0], java_script_enabled=False):
        assert "needs JavaScript" in page.inner_text("noscript")
        assert not page.is_visible("#calculator")
        assert page.is_visible("#trust")


def test_names_in_a_fit_are_text_and_nothing_else(
    small_fit: Fit, browser: Browser, tmp_path: Path
) -> None:
    name = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    coords = replace(small_fit.coords, llms=(name, *small_fit.coords.llms[1:]))
    path = write(render(replace(small_fit, coords=coords)), tmp_path / "report.html")
    for page in opened(browser, path):
        assert name in page.eval_on_selector_all("#llm option", "all => all.map(o => o.text)")
        page.select_option("#llm", name)
        assert page.is_visible("#result")

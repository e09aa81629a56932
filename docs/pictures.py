"""Make the pictures of the README from the report of the shipped fit, in Chromium.

Prints how large the report is and how long it takes to open, calculator included.

python docs/pictures.py
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from t2m_bayes import reference_fit
from t2m_bayes.report import render, write

DOCS = Path(__file__).resolve().parent
REQUEST = {"#input_tokens": "2000", "#output_tokens": "300"}

with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
    page = write(render(reference_fit()), Path(folder) / "report.html")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    browser = playwright.chromium.launch(
        executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
    )
    tab = browser.new_page(viewport={"width": 1000, "height": 900})
    tab.goto(page.as_uri())
    opened_ms = tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    print(f"{page.stat().st_size / 1e6:.1f} MB, opened in {opened_ms / 1e3:.2f} s")
    tab.select_option("#llm", "DSR1-Llama-8B")
    for field, value in REQUEST.items():
        tab.fill(field, value)
    tab.locator("#calculator").screenshot(path=DOCS / "report-calculator.png")
    tab.locator("figure", has=tab.locator("[id^=fan-prefill]")).first.screenshot(
        path=DOCS / "report-prefill.png"
    )
    browser.close()

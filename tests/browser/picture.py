"""The picture of the page for the README, of a demo in the middle of its faults.

    tests/.venv/bin/python tests/browser/picture.py target/release/gatehouse docs/page.png
"""

import os
import sys

from playwright.sync_api import sync_playwright

import chrome
from chrome import Window
from plant import Demo


def picture(binary, path):
    with sync_playwright() as playwright:
        browser = chrome.start(playwright)
        demo = Demo(binary)
        try:
            window = Window(browser, demo.url, os.path.dirname(path) or ".", locale="zh-CN")
            # Some are back to normal by then, and the meter has fallen silent.
            window.go("/", "[data-hook=tickets] [data-ticket] >> nth=3")
            window.shot(os.path.splitext(os.path.basename(path))[0])
            window.clean()
        finally:
            demo.stop()
            browser.close()


picture(*sys.argv[1:3])

"""A headless Chromium, and what is watched in each of its pages: the console, where requests go, what is received."""

import os
import shutil
import time

from axe_playwright_python.sync_playwright import Axe

PATIENCE_MS = 30_000
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}


def start(playwright):
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("chromium is missing: tests/tools.sh installs it")
    # A container's /dev/shm is small, and root has no sandbox there.
    flags = ["--disable-dev-shm-usage"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    return playwright.chromium.launch(executable_path=path, args=flags)


class Window:
    """One page in a context of its own: another person at another machine."""

    def __init__(self, browser, url, artefacts, size=DESK, locale="zh-CN", dark=False):
        self.url = url
        self.artefacts = artefacts
        self.context = browser.new_context(
            viewport=size, locale=locale, color_scheme="dark" if dark else "light", reduced_motion="reduce"
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.faults = []
        # Answers that a case brings about: what the browser itself says of these is no error of the page.
        self.expected = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._request)
        self.received = {}
        self._watch_network()

    def close(self):
        self.context.close()

    # ---- what is watched ----

    def _console(self, message):
        if message.type not in ("error", "warning"):
            return
        where = message.location.get("url", "") if message.location else ""
        words = f"{message.type}: {message.text} ({where})"
        if not any(part in words for part in self.expected):
            self.faults.append(words)

    def _request(self, request):
        if not request.url.startswith((self.url + "/", "data:", "blob:")):
            self.faults.append(f"a request to elsewhere: {request.url}")

    def _watch_network(self):
        network = self.context.new_cdp_session(self.page)
        network.send("Network.enable")
        urls = {}
        network.on("Network.responseReceived", lambda e: urls.__setitem__(e["requestId"], e["response"]["url"]))

        def finished(event):
            url = urls.get(event["requestId"], "")
            self.received[url] = self.received.get(url, 0) + int(event["encodedDataLength"])

        network.on("Network.loadingFinished", finished)

    def page_bytes(self):
        """What came over the wire of the page itself, with the heads of the answers."""
        return sum(size for url, size in self.received.items() if "/api/" not in url and url.startswith(self.url))

    def clean(self):
        faults, self.faults = self.faults, []
        assert not faults, "\n".join(faults)

    # ---- going about ----

    def go(self, place, selector):
        """To a view; until something of it is there."""
        self.page.goto(f"{self.url}/#{place}")
        self.page.wait_for_selector(selector)

    def until(self, expression, argument=None):
        return self.page.wait_for_function(expression, arg=argument, timeout=PATIENCE_MS)

    def enter(self, token, selector):
        """Logs in; after a wrong token the gateway wants to be asked again a little later."""
        self.page.wait_for_selector("#token")
        end = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < end:
            self.page.fill("#token", token)
            self.page.click("[data-action=login]")
            self.until("() => !document.querySelector('[data-action=login]:disabled')")
            if not self.page.query_selector("#token"):
                break
        self.page.wait_for_selector(selector)

    def speak(self, language):
        """Both languages are tried without a click here; the button has a case of its own."""
        self.page.evaluate("language => localStorage.setItem('lang', language)", language)
        self.page.reload()

    def shot(self, name, whole=False):
        path = os.path.join(self.artefacts, f"{name}.png")
        self.page.screenshot(path=path, full_page=whole)

    # ---- what every view has to be ----

    def fits(self):
        wide = self.page.evaluate(
            """() => ({
                page: document.scrollingElement.scrollWidth, window: innerWidth,
                out: [...document.querySelectorAll('body *')].filter(e => {
                    const box = e.getBoundingClientRect();
                    return box.width && box.right > innerWidth + 1;
                }).slice(0, 3).map(e => e.outerHTML.slice(0, 120)),
            })"""
        )
        assert wide["page"] <= wide["window"], f"it scrolls sideways, {wide['page']} of {wide['window']} px: {wide['out']}"

    def axe(self):
        found = Axe().run(self.page).response["violations"]
        grave = [v for v in found if v["impact"] in ("serious", "critical")]
        assert not grave, "\n".join(
            f"axe: {v['impact']} {v['id']}: {v['help']}: {[n['html'][:160] for n in v['nodes'][:3]]}" for v in grave
        )

    def tab_to(self, matches, most=80):
        """By the keyboard alone, as far as something that matches has the focus."""
        for _ in range(most):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("s => !!document.activeElement && document.activeElement.matches(s)", matches):
                return
        raise AssertionError(f"{most} times Tab did not come to {matches}")


def first_paint(page):
    """Milliseconds from the start of the navigation until the first content was painted."""
    return page.evaluate(
        """() => new Promise(done => new PerformanceObserver((list, self) => {
            const entry = list.getEntriesByName('first-contentful-paint')[0];
            if (entry) { self.disconnect(); done(entry.startTime); }
        }).observe({ type: 'paint', buffered: true }))"""
    )


def since(begun):
    """Milliseconds."""
    return (time.monotonic() - begun) * 1000

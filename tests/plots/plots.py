"""What draws, in a real Chromium: its pure parts by what they return, plots and heat map by hand. `plots.py URL`"""

import os
import sys

from playwright.sync_api import sync_playwright

sys.path.append(os.path.join(os.path.dirname(__file__), "../browser"))
import chrome

PATIENCE_MS = 30_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FIGURE = "[data-plot='pump-1.pressure']"
DRAWN = FIGURE + "[data-drawn-ms]"


def parts(page):
    """Functions without a page, called in one."""

    def call(module, name, *arguments):
        text = "([module, name, arguments]) => import(module).then(all => all[name](...arguments))"
        return page.evaluate(text, [f"/page/{module}.js", name, list(arguments)])

    at = lambda second: f"2026-11-22T00:{second // 60:02}:{second % 60:02}.000Z"
    base = 1_795_305_600
    read = lambda second, low, mean, high, count=3: [at(second), low, mean, high, count]
    numbers = [read(0, 1, 2, 3), read(60, 2, 3, 4), [at(120), 5.5, 5.5, 5.5, 0], read(180, 4, 5, 6), [at(240), None, None, None, 0], read(900, 7, 8, 9)]
    drawn = call("chart/rows", "columns", numbers)
    assert drawn["mean"] == [2, 3, None, 5, None, None, 8], "nothing is drawn across bad readings, nor where nothing was read"
    assert drawn["filled"] == [None, 3, 5.5, 5, None, None, None], "dashes begin and end at what was read"
    assert drawn["words"] is None and drawn["x"][0] == base
    assert call("chart/rows", "columns", [read(n, n, n, n, 1) for n in range(5)])["stepped"], "single readings hold"
    words = call("chart/rows", "columns", [[at(0), "closed", None, "open", 4], [at(60), "open", None, "open", 1]])
    assert (words["words"], words["min"], words["max"]) == (["closed", "open"], [0, 1], [1, 1]), "quiet words lie below"
    found = call("chart/rows", "columnAt", drawn, base + 70)
    assert found == 1 and call("chart/rows", "columnAt", drawn, base - 1) == -1

    told = page.evaluate(
        "([rows, from, to]) => import('/page/chart/rows.js').then(all => all.summary(all.columns(rows), from, to))",
        [[read(0, 1, 2, 3, 2), read(60, 2, 6, 8, 3), read(120, 7, 7, 7, 1)], base, base + 60],
    )
    assert (told["least"], told["greatest"], told["last"], told["count"]) == (1, 8, None, 5), "which was the last of three nobody knows"
    # Ten minutes at 320 are ten recorded readings, ten seconds of swinging are five: nothing is said of their mean.
    steady = [read(60 * n, 320, 320, 320, 1) for n in range(10)]
    swings = [read(600 + 2 * n, 250, 250, 250, 1) for n in range(5)]
    told = page.evaluate(
        "async rows => { const { columns } = await import('/page/chart/rows.js'), { sentence } = await import('/page/chart/tell.js');"
        " return sentence({ columns: columns(rows), view: [rows[0][0], rows.at(-1)[0]].map(at => Date.parse(at) / 1e3), unit: 'kPa', words: { exact: String } }); }",
        steady + swings,
    )
    assert "15 recorded readings" in told or "15 条记录" in told, told
    assert "250\u00a0kPa" in told and "mean" not in told and "均" not in told, told

    said = {cron: call("show", "calendar", cron) for cron in ("0 9 * * *", "30 8 * * 1", "5 7 * * 1-5", "0 9 1 * *", "0 9 1 3 *", "* * * * *", "*/5 9 * * *", "0 9 1 * 1")}
    english = ["each day at 09:00", "each Monday at 08:30", "Monday to Friday at 07:05", "on day 1 of each month at 09:00", "each year on 1 March at 09:00"]
    chinese = ["每天 09:00", "每星期一 08:30", "每周一至周五 07:05", "每月 1 日 09:00", "每年三月 1 日 09:00"]
    assert list(said.values()) in ([*english, None, None, None], [*chinese, None, None, None]), said

    rules = [
        {"id": "a", "points": ["p"], "condition": {"outside": [1, 5]}, "level": 1},
        {"id": "b", "points": ["p", "q"], "condition": {"equals": "wet"}, "level": 2},
        {"id": "c", "points": ["p"], "condition": {"silent": "10m"}, "level": 2},
    ]
    limits = call("chart/rows", "limitsOf", rules, "p")
    assert [(limit["kind"], limit["at"]) for limit in limits] == [("below", 1), ("above", 5), ("equals", "wet")]

    about = lambda span: [round(end, 6) for end in span]
    assert about(call("chart/hand", "carried", {"span": [0, 100], "at": [0.4, 0.6]}, [0.3, 0.7])) == [25, 75], "a pinch"
    assert about(call("chart/hand", "carried", {"span": [0, 100], "at": [0.5]}, [0.7])) == [-20, 80], "one finger"
    assert about(call("chart/hand", "bounded", [90, 130], 10, 1000, 100)) == [60, 100], "nothing is later than now"
    assert about(call("chart/hand", "bounded", [50, 51], 10, 1000, 100)) == [45.5, 55.5], "no nearer than ten seconds"
    near, far = call("chart/axis", "reach", 300, 320, [200]), call("chart/axis", "reach", 300, 320, [900])
    assert near[0] < 200 and far[1] < 400, "a limit far away does not press the line flat"
    assert call("views/heat", "boundsOf", 20) == [4, 8, 12, 16, 20] and call("views/heat", "boundsOf", 2) == [1, 2]
    assert call("views/heat", "boundsOf", 0) == []
    counted = {"to": "2026-11-22T10:00:00.000Z", "timezone": "Asia/Shanghai", "cells": [], "places": [{"place": "a", "count": 2}]}
    come = lambda time, word: {"type": f"gatehouse.ticket.{word}", "time": time, "data": {"place": "a"}}
    late = [come("2026-11-22T16:30:00.000Z", "opened"), come("2026-11-22T16:31:00.000Z", "cleared"), come("2026-11-22T09:00:00.000Z", "opened")]
    grown = call("views/heat", "grown", counted, late)
    assert grown["cells"] == [{"place": "a", "weekday": 1, "hour": 0, "count": 1}], "it is Monday there already"
    assert grown["places"] == [{"place": "a", "count": 3}]
    assert call("views/heat", "moved", [1, 0], "ArrowDown", False) == [2, 0]
    assert call("views/heat", "moved", [7, 23], "ArrowDown", True) == [7, 23], "the end of the week is an end"


class Plot:
    def __init__(self, page):
        self.page = page
        self.asked = []
        page.on("request", lambda request: self.asked.append(request.url) if "/history?" in request.url else None)
        page.wait_for_selector(DRAWN)
        self.over = page.locator(FIGURE + " .u-over").bounding_box()

    def span(self):
        figure = self.page.locator(FIGURE)
        return int(figure.get_attribute("data-to")) - int(figure.get_attribute("data-from"))

    def at(self, share):
        return self.over["x"] + self.over["width"] * share, self.over["y"] + self.over["height"] / 2

    def becomes(self, low, high, what):
        """Waits until what is looked at is as wide, and drawn of readings fetched for it."""
        found = "([figure, low, high]) => { const at = document.querySelector(figure); const wide = at && at.dataset.to - at.dataset.from; return at && wide >= low && wide <= high; }"
        for _ in range(300):
            if self.page.evaluate(found, [DRAWN, low, high]):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{what}: {self.span() / HOUR_MS} h, not {low / HOUR_MS} to {high / HOUR_MS}")

    def drag(self, start, end):
        self.page.mouse.move(*self.at(start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(end), steps=5)
        self.page.mouse.up()


def by_mouse_and_keys(browser, url):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="en-GB")
    faults = watched(page)
    page.goto(url + "/#/device/pump-1?point=pump-1.pressure")
    plot = Plot(page)
    page.click("[data-span=month]")
    plot.becomes(30 * DAY_MS, 30 * DAY_MS, "thirty days")
    sentence = page.inner_text("[data-plot-sum]")
    assert "least" in sentence and "kPa" in sentence and "readings" in sentence, sentence
    assert page.locator("[data-plot-mark]").count() > 0, "the tickets of a month are marked"

    x, y = plot.at(0.5)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(300)
    assert plot.span() == 30 * DAY_MS, "the wheel is the page's until the plot has the focus"
    page.evaluate("scrollTo(0, 0)")
    plot.over = page.locator(FIGURE + " .u-over").bounding_box()

    before = len(plot.asked)
    plot.drag(0.4, 0.6)
    plot.becomes(5 * DAY_MS, 7 * DAY_MS, "a fifth was chosen")
    assert len(plot.asked) > before, "finer buckets were asked for"
    page.mouse.wheel(0, -100)
    plot.becomes(4 * DAY_MS, 5.5 * DAY_MS, "the wheel, with the focus")
    page.keyboard.press("-")
    plot.becomes(6.5 * DAY_MS, 9 * DAY_MS, "the minus key")
    start = int(page.get_attribute(FIGURE, "data-from"))
    page.keyboard.press("ArrowLeft")
    plot.becomes(6.5 * DAY_MS, 9 * DAY_MS, "an arrow moves")
    assert int(page.get_attribute(FIGURE, "data-from")) < start
    page.keyboard.press("Shift+ArrowRight")
    assert page.get_attribute("[data-plot-read]", "aria-live") == "polite"
    assert "kPa" in page.inner_text("[data-plot-read]") or "not read" in page.inner_text("[data-plot-read]")
    page.keyboard.press("0")
    plot.becomes(30 * DAY_MS, 30 * DAY_MS, "zero resets")

    many = page.locator("[data-plot-mark=many], [data-plot-mark=opened]").first
    many.click()
    if "#/ticket/" not in page.url:
        plot.becomes(0, 29 * DAY_MS, "several tickets in one place are looked at more closely")
    page.goto(url + "/#/device/pump-1?point=pump-1.state")
    page.wait_for_selector("[data-plot='pump-1.state'][data-drawn-ms]")
    page.click("[data-span=week]")
    page.wait_for_selector("[data-plot='pump-1.state'][data-drawn-ms]")
    assert "said" in page.inner_text("[data-plot-sum]"), page.inner_text("[data-plot-sum]")
    assert not faults, faults
    page.close()


def closer(browser, url):
    """A ticket's plot: what does not come is told, and a later wish is not drawn over by an earlier one."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="en-GB")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url + "/#/")
    ticket = page.evaluate("fetch('/api/v1/tickets?state=open,acknowledged,in_progress,resolved,closed&limit=1000').then(answer => answer.json()).then(all => all.tickets.findLast(one => one.point === 'pump-1.pressure').id)")
    page.goto(f"{url}/#/ticket/{ticket}")
    page.click("[data-action=closer]")
    page.wait_for_selector(DRAWN)
    page.route("**/history?*", lambda route: route.abort("connectionrefused"))
    page.click("[data-plot-tool=wider]")
    page.wait_for_selector("[data-plot-read]:has-text('does not answer')")
    page.unroute("**/history?*")
    held = []
    page.route("**/history?*", lambda route: route.continue_() if held else held.append(route))
    page.click("[data-plot-tool=wider]")
    for _ in range(300):
        if held:
            break
        page.wait_for_timeout(50)
    with page.expect_response("**/history?*") as newest:
        page.click("[data-plot-tool=closer]")
    page.wait_for_selector(DRAWN)
    before = page.inner_text("[data-plot-sum]")
    middle = page.evaluate("figure => { const { from, to } = document.querySelector(figure).dataset; return new Date((+from + +to) / 2).toISOString(); }", FIGURE)
    with page.expect_response("**/history?*") as late:
        held[0].fulfill(json={**newest.value.json(), "buckets": [[middle, -999, -999, -999, 1]]})
    late.value.finished()
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    assert "999" not in before and "999" not in page.inner_text("[data-plot-sum]"), "the earlier answer was drawn over the later one"
    page.close()


def by_fingers(browser, url):
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, locale="zh-CN")
    page = context.new_page()
    faults = watched(page)
    page.goto(url + "/#/device/pump-1?point=pump-1.pressure")
    plot = Plot(page)
    page.locator(FIGURE + " .u-over").scroll_into_view_if_needed()
    plot.over = page.locator(FIGURE + " .u-over").bounding_box()
    touch = context.new_cdp_session(page)

    def fingers(kind, *shares):
        points = [{"x": plot.at(share)[0], "y": plot.at(share)[1], "id": n} for n, share in enumerate(shares)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 0.4, 0.6)
    for step in (0.02, 0.06, 0.1):
        fingers("touchMove", 0.4 - step, 0.6 + step)
    fingers("touchEnd")
    plot.becomes(10 * HOUR_MS, 14 * HOUR_MS, "two fingers, twice as far apart")
    start = int(page.get_attribute(FIGURE, "data-from"))
    fingers("touchStart", 0.4)
    for step in (0.05, 0.1, 0.2):
        fingers("touchMove", 0.4 + step)
    fingers("touchEnd")
    plot.becomes(10 * HOUR_MS, 14 * HOUR_MS, "one finger keeps the width")
    assert int(page.get_attribute(FIGURE, "data-from")) < start - HOUR_MS, "what was under the finger went along"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not faults, faults
    context.close()


def heat(browser, url):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="en-GB")
    faults = watched(page)
    page.goto(url + "/#/heat")
    page.wait_for_selector("[data-heat=wide]")
    page.click("[data-days='90']")
    page.wait_for_selector("[data-days='90'][aria-pressed=true]")
    answer = page.evaluate("fetch('/api/v1/heat?days=90&by=place').then(answer => answer.json())")
    most = max(answer["places"], key=lambda place: place["count"])
    total = sum(cell["count"] for cell in answer["cells"])
    shown = "() => [...document.querySelectorAll('[data-count]')].reduce((sum, cell) => sum + Number(cell.dataset.count), 0)"

    def becomes(wanted, what):
        for _ in range(200):
            if page.evaluate(shown) == wanted:
                return
            page.wait_for_timeout(50)
        raise AssertionError(f"{what}: {page.evaluate(shown)}, not {wanted}")

    becomes(total, "all tickets are in the picture")
    assert total > 100 and page.locator("[data-count]").count() == 7 * 24
    page.focus("[data-cell='1-0']")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.cell") == "2-23"
    assert "23:00" in page.inner_text("[data-heat-read]"), page.inner_text("[data-heat-read]")
    page.click(f"[data-place='{most['place']}']")
    becomes(most["count"], "one place")
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_selector("[data-heat=narrow]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not faults, faults
    page.close()


def watched(page):
    faults = []
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    return faults


def main(url):
    with sync_playwright() as playwright:
        browser = chrome.start(playwright)
        page = browser.new_page()
        page.goto(url + "/")
        parts(page)
        page.close()
        by_mouse_and_keys(browser, url)
        closer(browser, url)
        by_fingers(browser, url)
        heat(browser, url)
        browser.close()


main(sys.argv[1])

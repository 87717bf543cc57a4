"""The technician's page in a real Chromium, case by case, before the real daemon.

    page.py BINARY DIRECTORY MODBUS_PORT ARTEFACTS SLACK EVERY

DIRECTORY has a month of history, a reading each EVERY seconds, its configuration in `past.toml`, and what says that the clock is set; pictures and what
is said here go to ARTEFACTS; limits of time are SLACK times what was promised. One browser and one daemon for all; a case that fails does not keep the others.
"""

import os
import re
import sys
import time
import traceback
import xml.etree.ElementTree as xml

from playwright.sync_api import sync_playwright

import chrome
from chrome import DESK, PHONE, Window, first_paint, since
from plant import PATIENCE, SECOND_FAN, Crm, Daemon, Demo, Modbus

# What each view has once it is there.
VIEWS = {
    "home": ("/", "[data-hook=places] > *"),
    "tickets": ("/tickets", "[data-view=tickets] [data-ticket]"),
    "device": ("/device/pump-1?point=pump-1.pressure", "[data-plot][data-drawn-ms]"),
    "doors": ("/doors", "[data-view=doors] h1"),
    "heat": ("/heat", "[data-view=heat] [data-count]"),
    "events": ("/events", "[data-view=events] li"),
}
LIVE = "html[data-link=live]"

# What is typed as the reason of an order, and what the page says of orders.
ORDERS = {
    "zh": {
        "because": "业主忘带门卡",
        "go": "确认执行",
        "no-reason": "这条命令须写明原因",
        "executed": "已执行",
        "outside-hours": "现在不在允许的时段内",
        "cancel": "取消",
        "close": "关闭",
        "told": "王师傅 的命令：gate-1 开锁 door-1，已执行",
        "refused": "命令被拒绝：gate-1 开锁 door-2（现在不在允许的时段内：",
    },
    "en": {
        "because": "the owner forgot his card",
        "go": "Do it",
        "no-reason": "It is done for a reason only",
        "executed": "Done",
        "outside-hours": "Not at this hour",
        "cancel": "Cancel",
        "close": "Close",
        "told": "Order of 王师傅: gate-1 Open door-1, executed",
        "refused": "Order refused: gate-1 Open door-2 (Not at this hour: ",
    },
}


class Run:
    def __init__(self, binary, directory, modbus_port, artefacts, slack, every):
        self.binary, self.artefacts, self.slack, self.every = binary, artefacts, float(slack), every
        self.report = open(os.path.join(artefacts, "report.txt"), "w", buffering=1)
        self.figures, self.failed = [], []
        self.modbus = Modbus(int(modbus_port))
        self.crm = Crm()
        self.daemon = Daemon(binary, directory, self.crm)

    # ---- what is told ----

    def say(self, words):
        print(words, flush=True)
        self.report.write(words + "\n")

    def figure(self, what, measured, limit, unit, stretches=True):
        """Limits of time are stretched in a debug build; sizes are not."""
        allowed = limit * (self.slack if stretches else 1)
        self.figures.append((what, f"{measured:.0f} {unit}", f"{limit} {unit}", measured <= allowed))
        assert measured <= allowed, f"{what}: {measured:.0f} {unit}, at most {allowed:.0f} were promised"

    def case(self, name, body, window=None):
        begun = time.monotonic()
        try:
            body()
            if window:
                window.clean()
        except Exception:
            self.failed.append(name)
            self.say(f"FAILED {name}\n{traceback.format_exc()}")
            if window:
                self.last_look(name, window)
        else:
            self.say(f"ok     {name} ({time.monotonic() - begun:.1f} s)")

    def last_look(self, name, window):
        try:
            window.shot("failed-" + re.sub(r"\W+", "-", name))
        except Exception as error:
            self.say(f"       no picture of it: {error}")
        window.faults.clear()

    def tell(self):
        width = max((len(row[0]) for row in self.figures), default=0)
        for what, measured, limit, kept in self.figures:
            self.say(f"{what:<{width}}  {measured:>10}  (at most {limit}{'' if kept else ', MISSED'})")

    # ---- the compound that is shown to who tries it ----

    def demo(self, browser):
        demo = Demo(self.binary)
        self.case("the demo's page opens in under a second", lambda: self.opens(browser, demo))
        window = Window(browser, demo.url, self.artefacts)
        page = window.page
        try:
            page.goto(demo.url)
            self.case("the demo's faults become tickets", lambda: page.wait_for_selector("[data-hook=tickets] [data-ticket]"), window)
            self.case("doors and lockers are shown", lambda: self.doors(window), window)
            self.case("a cell is ordered open where it is shown", lambda: self.cell(window), window)
            self.case("the page is small", lambda: self.weight(window), window)
        finally:
            window.close()
            demo.stop()

    def opens(self, browser, demo):
        """Each time somebody who was never here; the best of three, since the machine has other things to do as well."""
        shown, painted = [], []
        while len(shown) < 3 and (not shown or min(shown) > 1000 or min(painted) > 300):
            window = Window(browser, demo.url, self.artefacts)
            begun = time.monotonic()
            window.page.goto(window.url, wait_until="commit")
            window.page.wait_for_selector(VIEWS["home"][1])
            shown.append(since(begun))
            painted.append(first_paint(window.page))
            window.clean()
            window.close()
        self.figure("the demo's page, until its devices are shown", min(shown), 1000, "ms")
        self.figure("first content", min(painted), 300, "ms")

    def doors(self, window):
        window.go("/doors", "[data-view=doors] [data-cell]")
        assert window.page.locator("[data-cell]").count() >= 16, "two banks of eight cells"
        window.fits()
        window.axe()

    def cell(self, window):
        """Where no reason is asked for, and by somebody whom the page does not know yet."""
        page = window.page
        window.go("/doors", "[data-cell='bank-1.3'][data-state=closed]")
        page.click("[data-cell='bank-1.3'] [data-action=open]")
        page.click("[data-action=order-go]")
        page.wait_for_selector("#order-by-wrong:has-text('请先填写姓名')")
        page.fill("#order-by", "王师傅")
        page.click("[data-action=order-go]")
        page.wait_for_selector("[data-order-told][data-outcome=executed]")
        page.click("[data-action=order-cancel]")
        page.wait_for_selector("[data-cell='bank-1.3'][data-state=open]")
        page.wait_for_selector("[data-hook=door-events] li:has-text('王师傅 的命令：bank-1 开锁 cell-3，已执行')")

    def weight(self, window):
        for name in ("tickets", "heat", "events"):
            window.page.goto(f"{window.url}/#{VIEWS[name][0]}")
            window.page.wait_for_selector(f"[data-view={name}]")
        window.go("/device/pump-1?point=pump-1.pressure", "[data-plot][data-drawn-ms]")
        window.page.goto(f"{window.url}/#/")
        window.page.locator("[data-hook=tickets] [data-ticket]").first.click()
        window.page.wait_for_selector("[data-view=ticket] h1")
        self.figure("all files of the page, as received", window.page_bytes() / 1000, 150, "kB", stretches=False)

    # ---- a technician before the daemon with a month of history ----

    def technician(self, browser):
        window = Window(browser, self.daemon.url, self.artefacts)
        # The browser itself says that there was no session yet.
        window.expected = ["401 (Unauthorized)", "429 (Too Many Requests)"]
        cases = [
            ("one logs in with a token, once", self.login),
            ("a fault is on the page within two seconds", self.fault),
            ("numbers say what they count", self.counts),
            ("a ticket is acknowledged by a click, and the CRM learns it", self.acknowledge),
            ("the keyboard alone acknowledges a ticket", self.keyboard),
            ("who comes second to a ticket is told so", self.second),
            ("what is not there is told in the page's words", self.stray),
            ("the chart of a ticket stands in its page and alone", self.chart),
            ("a month of one reading a second is drawn and zoomed", self.month),
            ("the heat map fills", self.heat),
            ("the page speaks both languages", self.languages),
            ("a door is ordered open for a reason, or not at all", self.orders),
            ("a page has one stream, however one goes about", self.one_stream),
        ]
        for name, body in cases:
            self.case(name, lambda body=body: body(window), window)
        self.looks(window)
        self.case("a gateway that does not answer is told of once, in the page's words", lambda: self.unanswered(window), window)
        self.case("a reload ends the stream, which comes back with what is new", lambda: self.reloaded(window), window)
        self.case("a gateway that is gone is said to be, and found again", lambda: self.lost(window), window)
        self.case("of a gateway that begins anew nothing is shown from before", lambda: self.anew(window), window)
        self.case("one logs out", lambda: self.logout(window), window)
        window.close()

    def login(self, window):
        page = window.page
        page.goto(window.url)
        page.wait_for_selector("#token")
        window.axe()
        page.fill("#token", "no-such-token")
        page.click("[data-action=login]")
        window.until("() => document.getElementById('token-wrong').textContent !== ''")
        window.enter("technician-secret", VIEWS["home"][1])
        page.reload()
        page.wait_for_selector(VIEWS["home"][1])
        assert "technician-1" in page.locator("#who").inner_text()

    def fault(self, window):
        window.go("/", LIVE)
        self.modbus.set(8, 0, 655)
        begun = time.monotonic()
        window.page.wait_for_selector("[data-hook=tickets] [data-ticket]:has-text('65.5')")
        self.figure("a fault, until the page has its ticket", since(begun), 2000, "ms")

    def counts(self, window):
        """Each number says what it counts, and what is called the same is the same number."""
        page = window.page
        window.go("/", LIVE)
        unclosed = self.daemon.tickets()
        wrong = [ticket for ticket in unclosed if not ticket.get("cleared_at") and ticket["state"] != "resolved"]
        said = f"{len(unclosed)} 张未关闭工单，其中 {len(wrong)} 张待修复"
        page.wait_for_selector(f"a[href='#/tickets']:has-text('{said}')")
        assert page.inner_text("#open-count") == str(len(wrong)) and page.get_attribute("#open-count", "title") == f"{len(wrong)} 张待修复"
        tiles = [page.inner_text(f"[data-tile=level{level}] b") for level in (1, 2, 3)]
        assert sum(map(int, tiles)) == len(wrong), tiles
        page.click("[data-tile=level1]")
        page.wait_for_selector("[data-view=tickets] [data-ticket]")
        assert page.locator("[data-view=tickets] [data-ticket]").count() == int(tiles[0]), "behind a tile is what it counts"
        # The next case begins where this one did.
        window.go("/", "[data-hook=places] > *")

    def acknowledge(self, window):
        page = window.page
        ticket = self.daemon.ticket_of("fan-hot")["id"]
        self.crm.learnt("ticket.opened", ticket)
        page.click(f"[data-ticket='{ticket}']")
        page.fill("#by", "王师傅")
        page.fill("#note", "在路上")
        started = []
        page.on("request", lambda asked: started.append(asked.url) if asked.url.endswith("/start") else None)
        # As the second click of a double click would, on what has just come to stand there.
        page.evaluate(
            """() => new MutationObserver((_, self) => {
                self.disconnect();
                document.querySelector('[data-action=start]').click();
            }).observe(document.querySelector('header[data-ticket]'), { attributes: true, attributeFilter: ['data-state'] })"""
        )
        page.click("[data-action=acknowledge]")
        page.wait_for_selector("[data-view=ticket] header[data-state=acknowledged]")
        event = self.crm.learnt("ticket.acknowledged", ticket)
        assert (event["data"]["by"], event["data"]["note"]) == ("王师傅", "在路上"), event["data"]
        page.wait_for_selector("[data-hook=story] [data-type='gatehouse.ticket.acknowledged']")
        assert not started, "one click did two things"

    def keyboard(self, window):
        window.go("/", LIVE)
        self.modbus.set(8, 1, 93)
        ticket = self.daemon.ticket_of("fan-shakes")["id"]
        window.page.wait_for_selector(f"[data-ticket='{ticket}']")
        window.tab_to(f"a[data-ticket='{ticket}']")
        window.page.keyboard.press("Enter")
        window.page.wait_for_selector(f"header[data-ticket='{ticket}'][data-state=open]")
        # The name is known from the click before.
        window.tab_to("[data-action=acknowledge]")
        window.page.keyboard.press("Enter")
        window.page.wait_for_selector(f"header[data-ticket='{ticket}'][data-state=acknowledged]")
        # Not on the next button, which a key that is held down would press.
        window.until("() => document.activeElement.id === 'ticket-actions'")
        self.crm.learnt("ticket.acknowledged", ticket)

    def second(self, window):
        page = window.page
        ticket = self.daemon.ticket_of("fan-hot")["id"]
        window.go(f"/ticket/{ticket}", "[data-action=start]")

        def other_first(route):
            self.daemon.post(f"/api/v1/tickets/{ticket}/start", {"by": "李师傅"})
            route.continue_()

        page.route("**/start", other_first)
        page.fill("#note", "带了备件")
        page.click("[data-action=start]")
        page.wait_for_selector("[data-hook=refusal]:has-text('李师傅')")
        assert page.input_value("#note") == "带了备件", "what was not taken is not thrown away"
        page.unroute("**/start")

    def stray(self, window):
        """An address that names nothing is told in the page's own words, not the API's."""
        window.expected += ["404 (Not Found)"]
        for place, words in (("/ticket/nosuch", "网关上没有工单 nosuch"), ("/device/nosuch", "没有设备 nosuch")):
            window.go(place, f"[role=alert]:has-text('{words}')")
            said = window.page.inner_text("#main")
            assert "GET" not in said and "there is no" not in said.lower(), said
        window.page.click("a[data-tab=tickets]")
        window.page.wait_for_selector(VIEWS["tickets"][1])

    def chart(self, window):
        ticket = self.daemon.ticket_of("fan-hot")["id"]
        window.go(f"/ticket/{ticket}", "img[data-hook=chart]")
        window.until("() => document.querySelector('img[data-hook=chart]').naturalWidth >= 600")
        drawn = self.daemon.get(f"/api/v1/tickets/{ticket}/chart.svg")
        assert len(drawn) <= 30_000, f"{len(drawn)} bytes"
        root = xml.fromstring(drawn)
        svg = "{http://www.w3.org/2000/svg}"
        assert root.tag == svg + "svg" and root.get("viewBox"), root.attrib
        words = [text.text for text in root.iter(svg + "text")]
        assert "fan-1.temperature (°C)" in words and "60" in words, words
        assert root.find(svg + "path") is not None, "there is no line of readings"
        alone = window.context.new_page()
        alone.on("console", lambda message: window.faults.append(f"of the picture: {message.text}"))
        alone.goto(f"{window.url}/api/v1/tickets/{ticket}/chart.svg")
        alone.screenshot(path=os.path.join(self.artefacts, "chart.png"))
        alone.close()

    def month(self, window):
        page = window.page
        window.go(*VIEWS["device"])
        page.click("[data-span=month]")
        figure = "[data-plot='pump-1.pressure']"
        month = 29 * 86_400_000
        wide = f"""() => {{ const plot = document.querySelector("{figure}");
            return plot && plot.dataset.drawnMs && plot.dataset.to - plot.dataset.from >= {month}; }}"""
        window.until(wide)
        drawn = float(page.get_attribute(figure, "data-drawn-ms"))
        self.figure(f"30 days of one point at {self.every} s, asked for and drawn", drawn, 500, "ms")
        assert page.locator(f"{figure} canvas").count() == 1
        window.shot("device-30-days")
        over = page.locator(f"{figure} .u-over").bounding_box()
        middle = over["y"] + over["height"] / 2
        page.mouse.move(over["x"] + over["width"] * 0.4, middle)
        page.mouse.down()
        page.mouse.move(over["x"] + over["width"] * 0.6, middle, steps=5)
        page.mouse.up()
        window.until(wide.replace(f">= {month}", f"< {month // 3}"))
        window.shot("device-zoomed")

    def heat(self, window):
        window.go("/heat", VIEWS["heat"][1])
        window.until("() => [...document.querySelectorAll('[data-count]')].some(cell => Number(cell.dataset.count) > 1)")
        cells = window.page.locator("[data-count]").count()
        assert cells >= 7 * 24, f"{cells} cells of a week's hours"

    def languages(self, window):
        page = window.page
        window.go("/", "#lang")
        page.wait_for_selector("h2:has-text('未关闭工单')")
        # Not how many centres there are.
        page.wait_for_selector("[href='#home-uplink']:has-text('条待上报')")
        page.click("#lang")
        page.wait_for_selector("h2:has-text('Open tickets')")
        assert page.get_attribute("html", "lang").startswith("en")
        page.reload()
        page.wait_for_selector("h2:has-text('Open tickets')")
        page.click("#lang")
        page.wait_for_selector("h2:has-text('未关闭工单')")

    def orders(self, window):
        """In both languages: nothing by mistake, nothing without a reason, and the journal has the one that was typed."""
        page, given = window.page, []
        window.expected += ["403 (Forbidden)"]
        page.on("request", lambda asked: given.append(asked) if asked.url.endswith("/commands") else None)
        for language, words in ORDERS.items():
            window.go("/device/gate-1", LIVE)
            window.speak(language)
            self.not_ordered(window, words)
            assert not given and not self.modbus.read(10, 0), [one.post_data for one in given]
            self.ordered(window, words)
            assert len({one.post_data_json["key"] for one in given}) == 1 and self.modbus.read(10, 0) == 1, "the door itself was told, once"
            self.modbus.set(10, 0, 0)
            self.refused(window, words)
            assert self.modbus.read(10, 1) == 0
            window.go("/events", f"[data-view=events] li:has-text('{words['told']}')")
            page.wait_for_selector(f"[data-view=events] li:has-text('{words['refused']}')")
            given.clear()
        told = self.daemon.orders()
        assert [(kind, data["reason"]) for kind, data in told] == [
            one for words in ORDERS.values() for one in (("executed", words["because"]), ("refused", None))
        ], told
        for kind, data in told:
            assert (data["by"], data["role"], data["via"]) == ("王师傅", "technician", "technician-1"), data
            assert data["outcome"] == {"executed": "executed", "refused": "outside-hours"}[kind], data
        window.speak("zh")

    def asked(self, window, target):
        """The dialog for an order to the gate, with the name that is known from the click before."""
        window.page.click(f"[data-hook=orders] [data-target='{target}']")
        window.page.wait_for_selector(f"dialog[data-order='gate-1 {target}'][open]")
        assert window.page.input_value("#order-by") == "王师傅"

    def not_ordered(self, window, words):
        page = window.page
        # A double click, whose second one falls on what has just come to stand there; and a key that is held down.
        page.evaluate(
            """() => new MutationObserver((_, self) => {
                const go = document.querySelector('[data-action=order-go]');
                if (go) { self.disconnect(); go.click(); }
            }).observe(document.body, { childList: true })"""
        )
        page.focus("[data-hook=orders] [data-target='door-2']")
        for _ in range(2):
            page.keyboard.down("Enter")
        page.wait_for_selector("[data-action=order-go]:enabled")
        page.keyboard.down("Enter")
        page.keyboard.up("Enter")
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        self.asked(window, "door-1")
        assert page.inner_text("[data-action=order-go]") == words["go"]
        window.axe()
        for nothing in ("", "   "):
            page.fill("#order-why", nothing)
            page.click("[data-action=order-go]")
            page.wait_for_selector(f"#order-why-wrong:has-text('{words['no-reason']}')")
            window.until("() => document.activeElement.id === 'order-why'")
        page.fill("#order-why", words["because"])
        assert page.inner_text("#order-why-wrong") == "" and page.inner_text("[data-action=order-cancel]") == words["cancel"]
        page.click("[data-action=order-cancel]")
        page.wait_for_selector("dialog", state="detached")

    def ordered(self, window, words):
        page, held = window.page, []
        page.route("**/commands", lambda route: held.append(route))
        self.asked(window, "door-1")
        page.fill("#order-why", words["because"])
        with page.expect_request("**/commands"):
            page.click("[data-action=order-go]")
        page.wait_for_selector("[data-order-told][data-outcome=under-way]")
        assert page.inner_text("[data-action=order-cancel]") == words["close"], "what is given cannot be cancelled"
        end = time.monotonic() + PATIENCE
        while not held and time.monotonic() < end:
            page.wait_for_timeout(10)
        held.pop().continue_()
        page.wait_for_selector(f"[data-outcome=executed]:has-text('{words['executed']}')")
        page.unroute("**/commands")
        window.fits()
        page.click("[data-action=order-cancel]")

    def refused(self, window, words):
        page = window.page
        self.asked(window, "door-2")
        page.click("[data-action=order-go]")
        page.wait_for_selector(f"[data-outcome=outside-hours]:has-text('{words['outside-hours']}')")
        page.click("[data-action=order-cancel]")

    def one_stream(self, window):
        """Each has a connection of the few that a browser opens, and a seat of the few that the gateway has."""
        page, streams = window.page, set()
        page.on("request", lambda asked: streams.add(asked) if "/api/v1/live" in asked.url else None)
        page.on("requestfinished", lambda asked: streams.discard(asked))
        page.on("requestfailed", lambda asked: streams.discard(asked))
        page.reload()
        window.go("/events", "[data-view=events] li")
        page.wait_for_selector(LIVE)
        # One that is not answered, and given up for the next.
        page.route("**/live?points=stalled*", lambda route: None)
        want = "glob => import('/page/site.js').then(all => all.site.watch([glob]))"
        for glob in ("stalled", "fan-1"):
            with page.expect_request(f"**/live?points={glob}*"):
                page.evaluate(want, glob + ".*")
        end = time.monotonic() + PATIENCE
        while len(streams) != 1 and time.monotonic() < end:
            page.wait_for_timeout(50)
        assert ["points=fan-1" in one.url for one in streams] == [True], [one.url for one in streams]
        page.unroute("**/live?points=stalled*")

    def reloaded(self, window):
        page = window.page
        window.go("/", LIVE)
        page.evaluate("() => { window.stayed = true; }")
        with page.expect_request("**/api/v1/live*"):
            self.daemon.reload_with(SECOND_FAN)
        page.wait_for_selector("[data-device='fan-2']:has-text('<img src=x onerror=alert(1)>')")
        page.wait_for_selector(LIVE)
        for register, shown in ((88, "8.8"), (91, "9.1")):
            self.modbus.set(9, 1, register)
            page.wait_for_selector(f"[data-point='fan-2.vibration']:has-text('{shown}')")
        assert page.evaluate("() => window.stayed"), "nobody has to load the page anew"

    def looks(self, window):
        """Each view, as wide as a phone and as a desk, in both languages, light and dark: it fits, and axe finds nothing grave."""
        ticket = self.daemon.ticket_of("fan-hot")["id"]
        views = VIEWS | {"ticket": (f"/ticket/{ticket}", "[data-hook=story] li")}
        for language in ("zh", "en"):
            for size, width in ((PHONE, "phone"), (DESK, "desk")):
                # axe has to see each view narrow and wide, light and dark, in both languages; not each with each.
                both = (language == "en") == (width == "desk")
                dark = both and language == "en"
                window.page.emulate_media(color_scheme="dark" if dark else "light")
                window.page.set_viewport_size(size)
                window.go("/", "#lang")
                window.speak(language)
                for name, (place, selector) in views.items():
                    self.case(
                        f"{name} fits a {width} in {language}",
                        lambda: self.look(window, place, selector, f"{name}-{width}-{language}", both),
                        window,
                    )
        window.page.emulate_media(color_scheme="light")
        window.speak("zh")

    def look(self, window, place, selector, picture, axe):
        window.go(place, selector)
        window.fits()
        # Events go on for many pages.
        window.shot(picture, whole="events" not in picture)
        if axe:
            window.axe()

    def lost(self, window):
        window.go("/", LIVE)
        window.expected += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"]
        self.daemon.kill()
        window.page.wait_for_selector("#lost:visible")
        window.shot("lost")
        window.axe()
        self.daemon.start()
        # Sessions are in memory only: who was in shows the token again.
        window.page.wait_for_selector("#token")
        window.until("() => document.getElementById('link').textContent === ''")
        for stale in ("#who", "#foot"):
            assert "technician-1" not in window.page.inner_text(stale), "whose session has ended is not here"
        assert not window.page.is_visible("#open-count") and not window.page.is_visible("#logout")
        window.enter("technician-secret", VIEWS["home"][1])
        window.page.wait_for_selector(LIVE)
        assert not window.page.is_visible("#lost")

    def unanswered(self, window):
        """One click while nobody is there: told once, in the page's own words."""
        ticket = self.daemon.ticket_of("fan-shakes")["id"]
        window.expected += ["ERR_CONNECTION_REFUSED"]
        for language, words in (("en", "The gateway does not answer"), ("zh", "网关没有回应")):
            window.go("/", LIVE)
            window.speak(language)
            window.go(f"/ticket/{ticket}", "[data-hook=story] li")
            window.page.route("**/api/v1/tickets/**", lambda route: route.abort("connectionrefused"))
            window.page.click("[data-action=resolve]")
            window.page.wait_for_selector(f"[data-hook=refusal]:has-text('{words}')")
            said = window.page.inner_text("#main")
            assert said.count(words) == 1 and "fetch" not in said, said
            window.page.unroute("**/api/v1/tickets/**")

    def anew(self, window):
        before = self.daemon.ticket_of("fan-hot")["id"]
        window.go("/tickets", f"[data-ticket='{before}']")
        self.daemon.kill()
        self.daemon.forget()
        self.daemon.start()
        window.enter("technician-secret", LIVE)
        after = self.daemon.ticket_of("fan-hot")["id"]
        window.page.wait_for_selector(f"[data-view=tickets] [data-ticket='{after}']")
        assert not window.page.query_selector(f"[data-ticket='{before}']"), "a ticket that nobody knows any more"
        window.go("/events", "[data-type='gatehouse.gateway.started']")
        assert window.page.locator("[data-type='gatehouse.gateway.started']").count() == 1, "events of another journal"

    def logout(self, window):
        window.page.click("#logout")
        window.page.wait_for_selector("#token")

    # ---- one who may only look ----

    def viewer(self, browser):
        window = Window(browser, self.daemon.url, self.artefacts, size=PHONE, locale="en-GB")
        window.expected = ["401 (Unauthorized)"]
        self.case("a viewer sees everything and is offered nothing", lambda: self.only_looks(window), window)
        window.close()

    def old_phone(self, browser):
        window = Window(browser, self.daemon.url, self.artefacts, size=PHONE)
        window.expected = ["401 (Unauthorized)"]
        self.case("an older phone on a slow network draws, and shows nothing that was left", lambda: self.draws_late(window), window)
        window.close()

    def draws_late(self, window):
        page, held = window.page, []
        page.add_init_script("delete AbortSignal.any")
        page.route("**/views/device.js", lambda route: held.append(route))
        page.goto(window.url)
        window.enter("technician-secret", VIEWS["home"][1])
        window.go(VIEWS["device"][0], "main > [role=status]")
        assert not page.query_selector("[data-view=home]"), "the view that was left still stands there"
        held.pop().continue_()
        page.wait_for_selector(VIEWS["device"][1])

    def only_looks(self, window):
        page = window.page
        page.goto(window.url)
        window.enter("viewer-secret", VIEWS["home"][1])
        ticket = self.daemon.ticket_of("fan-hot")["id"]
        window.go(f"/ticket/{ticket}", "[data-hook=story] li")
        offered = [verb for verb in ("acknowledge", "start", "resolve", "close") if page.is_visible(f"[data-action={verb}]")]
        assert not offered, offered
        window.go("/device/gate-1", "[data-point='gate-1.lock']")
        assert not page.query_selector("[data-hook=orders]"), "orders are offered to who may only look"
        window.expected += ["403 (Forbidden)"]
        before, order = self.daemon.orders(), {"action": "open", "target": "door-1", "reason": "x", "key": "viewer"}
        answered = page.evaluate(
            """order => fetch('/api/v1/devices/gate-1/commands', {
                method: 'POST', headers: { 'X-Gatehouse': 'page', 'Content-Type': 'application/json' }, body: JSON.stringify(order)
            }).then(answer => answer.status)""",
            order,
        )
        assert (answered, self.modbus.read(10, 0), self.daemon.orders()) == (403, 0, before)

    def all(self):
        with sync_playwright() as playwright:
            browser = chrome.start(playwright)
            try:
                self.daemon.start()
                self.technician(browser)
                self.viewer(browser)
                self.old_phone(browser)
                self.demo(browser)
            finally:
                self.daemon.stop()
                browser.close()
        self.tell()


if __name__ == "__main__":
    run = Run(*sys.argv[1:7])
    run.all()
    if run.failed:
        run.say(f"{len(run.failed)} failed: {', '.join(run.failed)}")
    sys.exit(1 if run.failed else 0)

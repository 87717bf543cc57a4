"""The real daemon with a pump and a fan that pymodbus plays, and a CRM that remembers what it was told."""

import asyncio
import http.server
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from datetime import datetime
from zoneinfo import ZoneInfo

from pymodbus.client import ModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

PATIENCE = 30.0

CONFIG = """
[gateway]
id       = "gw"
name     = "锦绣花园"
timezone = "Asia/Shanghai"
locale   = "zh-CN"
data_dir = "{dir}/data"
include  = ["past.toml"]

[api]
listen = "127.0.0.1:{api}"
[[api.token]]
name  = "technician-1"
role  = "technician"
token = {{ file = "{dir}/technician" }}
[[api.token]]
name  = "viewer-1"
role  = "viewer"
token = {{ file = "{dir}/viewer" }}

[[sync]]
name  = "crm"
url   = "http://127.0.0.1:{crm}/events"
token = {{ file = "{dir}/crm" }}

[[device]]
id      = "fan-1"
channel = "plant"
unit    = 8
place   = "地下车库/B1/排风机房"
poll    = "250ms"
[[device.point]]
id       = "temperature"
table    = "holding"
register = 0
type     = "u16"
scale    = 0.1
unit     = "°C"
[[device.point]]
id       = "vibration"
table    = "holding"
register = 1
type     = "u16"
scale    = 0.1
unit     = "mm/s"

[[device]]
id      = "gate-1"
channel = "plant"
unit    = 10
place   = "北门"
[[device.point]]
id       = "lock"
table    = "holding"
register = 0
type     = "u16"
map      = {{ 0 = "closed", 1 = "open" }}
[[device.command]]
action    = "open"
target    = "door-1"
register  = 0
value     = 1
read_back = true
reason    = true
[[device.command]]
action    = "open"
target    = "door-2"
register  = 1
value     = 1
hours     = "{closed}"

[[rule]]
id    = "fan-hot"
point = "fan-1.temperature"
above = 60.0
level = 1
trade = "hvac"
[[rule]]
id    = "fan-shakes"
point = "fan-1.vibration"
above = 7.1
level = 2
trade = "hvac"
"""


# What a reload brings: a place with markup in it is a place.
SECOND_FAN = """
[[device]]
id      = "fan-2"
channel = "plant"
unit    = 9
place   = "地下车库/<img src=x onerror=alert(1)>"
poll    = "250ms"
[[device.point]]
id       = "vibration"
table    = "holding"
register = 1
type     = "u16"
scale    = 0.1
unit     = "mm/s"
"""


class Modbus:
    """Four units; what a register says is written by a Modbus client, as somebody else's program would."""

    def __init__(self, port):
        self.port = port
        registers = {7: [3200, 1], 8: [412, 23], 9: [0, 23], 10: [0, 0]}
        self.devices = [
            SimDevice(id=unit, simdata=[SimData(0, values=values, datatype=DataType.REGISTERS)])
            for unit, values in registers.items()
        ]
        up = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(up)), daemon=True).start()
        assert up.wait(PATIENCE), "pymodbus did not start"
        self.client = ModbusTcpClient("127.0.0.1", port=port)
        wait(self.client.connect, "pymodbus answers")

    async def _serve(self, up):
        server = ModbusTcpServer(self.devices, address=("127.0.0.1", self.port))
        await server.listen()
        up.set()
        await server.serving

    def read(self, unit, register):
        answer = self.client.read_holding_registers(register, device_id=unit)
        assert not answer.isError(), answer
        return answer.registers[0]

    def set(self, unit, register, value):
        answer = self.client.write_register(register, value, device_id=unit)
        assert not answer.isError(), answer


class Crm:
    """Takes pushes and keeps them, each event once."""

    def __init__(self):
        self.events = {}
        crm = self

        class Desk(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.headers["Authorization"] != "Bearer crm-secret":
                    self.send_error(401)
                    return
                for event in body:
                    crm.events.setdefault(event["id"], event)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Desk)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def learnt(self, kind, ticket):
        """Until it has this event of this ticket."""

        def told():
            for event in list(self.events.values()):
                if event["type"] == "gatehouse." + kind and event["subject"] == "tickets/" + ticket:
                    return event
            return None

        return wait(told, f"the CRM learns {kind} of {ticket}")


class Daemon:
    def __init__(self, binary, directory, crm):
        self.binary, self.directory = binary, directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        for name in ("technician", "viewer", "crm"):
            path = os.path.join(directory, name)
            with open(path, "w") as file:
                file.write(f"{name}-secret")
            os.chmod(path, 0o600)
        with open(os.path.join(directory, "gatehouse.toml"), "w") as file:
            file.write(CONFIG.format(dir=directory, api=self.port, crm=crm.port, closed=far_hours()))
        self.child = None

    def start(self):
        with open(os.path.join(self.directory, "log"), "a") as log:
            command = [self.binary, "run", "--config", self.directory]
            # What is open at some hours only needs a clock that is set; the machine's may not be.
            clock = {"LD_PRELOAD": f"{self.directory}/adjtimex.so", "SYNCED_FILE": f"{self.directory}/synced"}
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | clock
            )
        wait(self.is_ready, "the daemon is ready", self.log)

    def is_ready(self):
        assert self.child.poll() is None, "the daemon ended:\n" + self.log()
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, path):
        asked = urllib.request.Request(self.url + path, headers={"Authorization": "Bearer technician-secret"})
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            return answer.read()

    def reload_with(self, more):
        with open(os.path.join(self.directory, "gatehouse.toml"), "a") as file:
            file.write(more)
        self.post("/api/v1/reload", {})

    def post(self, path, body):
        token = {"Authorization": "Bearer technician-secret"}
        asked = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers=token)
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            return json.load(answer)

    def tickets(self):
        return json.loads(self.get("/api/v1/tickets?state=open,acknowledged,in_progress,resolved"))["tickets"]

    def orders(self):
        """What the journal tells of orders, oldest first: `(type, data)`."""
        events = json.loads(self.get("/api/v1/events?types=command.*"))["events"]
        return [(event["type"].removeprefix("gatehouse.command."), event["data"]) for event in events]

    def ticket_of(self, rule):
        return wait(lambda: next((t for t in self.tickets() if t["rule"] == rule), None), f"a ticket of {rule}")

    def kill(self):
        self.child.kill()
        self.child.wait()

    def forget(self):
        """All it ever wrote: it begins another journal."""
        os.rename(os.path.join(self.directory, "data"), os.path.join(self.directory, "data-before"))

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()

    def log(self):
        with open(os.path.join(self.directory, "log")) as file:
            return file.read()


class Demo:
    """`gatehouse demo`, as somebody tries it first."""

    def __init__(self, binary):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [binary, "demo", "--listen", f"127.0.0.1:{self.port}"]
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.said = []
        self.page = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self.page.wait(PATIENCE), "the demo does not name its page"

    def _listen(self):
        for line in self.child.stdout:
            self.said.append((time.monotonic(), line))
            if "page: http" in line:
                self.page.set()

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def far_hours():
    """An hour of the compound's day that is half a day away."""
    hour = (datetime.now(ZoneInfo("Asia/Shanghai")).hour + 12) % 24
    return f"{hour:02}:00-{hour:02}:59"


def free_port():
    """Below those that connections get theirs from."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def wait(answer, what, beside=lambda: ""):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = answer()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited in vain until {what}\n{beside()}")

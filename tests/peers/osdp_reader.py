"""Readers by libosdp on one line, for tests/osdp.rs.

    osdp_reader.py tcp PORT ADDRESS[:KEY]...
    osdp_reader.py serial PATH ADDRESS[:KEY]...

A line on stdin is something that happens: `cards ADDRESS FIRST COUNT` (26 bits, facility 100), `keys ADDRESS DIGITS`,
`local ADDRESS TAMPER POWER`, `inputs ADDRESS 0 1 ...`, `deaf N` (the next N answers are lost on the line). What is commanded
is printed, as JSON.

libosdp 3.2.9 takes its next card where a question is repeated; readers by the standard repeat their answer, and so does this
line for them.
"""

import json
import os
import socket
import sys
import termios
import threading
import tty

from osdp import (Capability, CardFormat, Channel, Command, Event, LibFlag, LogLevel, PDCapabilities, PDInfo,
                  PeripheralDevice, StatusReportType)

lock = threading.Lock()
deaf = 0
state = {}


class Tap(Channel):
    """One reader's end of the line: it hears all that the panel says."""

    def __init__(self, line, address):
        super().__init__()
        self.line, self.address, self.heard = line, address, bytearray()
        self.asked = self.answer = None

    def hear(self, data):
        if data[2:3] == bytes([self.address]):
            if data == self.asked and self.answer is not None:
                self.say(self.answer)
                return
            self.asked, self.answer = data, None
        with lock:
            self.heard += data

    def read(self, most):
        with lock:
            taken = bytes(self.heard[:most])
            del self.heard[:most]
        return taken

    def write(self, data):
        self.answer = bytes(data)
        self.say(self.answer)
        return len(data)

    def say(self, data):
        global deaf
        if deaf > 0:
            deaf -= 1
        else:
            self.line.say(data)

    def flush(self):
        with lock:
            self.heard.clear()


class Line:
    def __init__(self):
        self.taps, self.fd = [], None

    def say(self, data):
        fd = self.fd
        try:
            if fd is not None:
                os.write(fd, data)
        except OSError:
            pass

    def listen(self, fd):
        self.fd = fd
        while True:
            try:
                heard = os.read(fd, 4096)
            except OSError:
                break
            if not heard:
                break
            for tap in self.taps:
                tap.hear(heard)
        self.fd = None


def wiegand(facility, card):
    middle = facility << 16 | card
    even = bin(middle >> 12).count("1") % 2
    odd = 1 - bin(middle & 0xFFF).count("1") % 2
    return ((even << 25 | middle << 1 | odd) << 6).to_bytes(4, "big")


def obey(address):
    def handler(command):
        shown = {k: v for k, v in command.items() if isinstance(v, (int, str))}
        if command["command"] == Command.Status:
            kind = command["type"]
            known = state[address]
            report = {
                StatusReportType.Local: known["local"],
                StatusReportType.Input: known["inputs"],
                StatusReportType.Output: b"\0\0",
            }.get(kind, b"\0")
            return 0, {"command": Command.Status, "type": kind, "report": report}
        print(json.dumps({"address": address, **shown}), flush=True)
        return 0, None

    return handler


def reader(line, spec):
    address, _, key = spec.partition(":")
    address = int(address)
    state[address] = {"local": b"\0\0", "inputs": b"\0\0\0\0"}
    tap = Tap(line, address)
    line.taps.append(tap)
    flags = [LibFlag.EnforceSecure] if key else []
    info = PDInfo(address, tap, scbk=bytes.fromhex(key) if key else None, flags=flags)
    can = PDCapabilities([
        (Capability.ContactStatusMonitoring, 1, 4),
        (Capability.OutputControl, 1, 2),
        (Capability.CommunicationSecurity, 1, 1),
    ])
    device = PeripheralDevice(info, can, log_level=LogLevel.Critical, command_handler=obey(address))
    device.start()
    return address, device


def card(number):
    return {"event": Event.CardRead, "reader_no": 0, "direction": 0, "format": CardFormat.Wiegand, "length": 26,
            "data": wiegand(100, number)}


def happen(devices, words):
    global deaf
    what, *numbers = words
    if what == "deaf":
        deaf = int(numbers[0])
        return
    address, device = int(numbers[0]), devices[int(numbers[0])]
    if what == "cards":
        for number in range(int(numbers[1]), int(numbers[1]) + int(numbers[2])):
            device.submit_event(card(number))
    elif what == "keys":
        device.submit_event({"event": Event.KeyPress, "reader_no": 0, "data": numbers[1].encode()})
    elif what in ("local", "inputs"):
        kind = {"local": StatusReportType.Local, "inputs": StatusReportType.Input}[what]
        state[address][what] = bytes(map(int, numbers[1:]))
        device.submit_event({"event": Event.Status, "type": kind, "report": state[address][what]})


def serve(mode, at, server, line):
    if mode == "serial":
        fd = os.open(at, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd, termios.TCSANOW)
        line.listen(fd)
        os._exit(0)
    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.listen(connection.fileno())
        connection.close()


def main():
    mode, at, *specs = sys.argv[1:]
    line = Line()
    devices = dict(reader(line, spec) for spec in specs)
    # Open before anybody is told that we are ready.
    server = None if mode == "serial" else socket.create_server(("127.0.0.1", int(at)))
    threading.Thread(target=serve, args=(mode, at, server, line), daemon=True).start()
    print(json.dumps({"ready": True}), flush=True)
    for words in sys.stdin:
        happen(devices, words.split())
    os._exit(0)


main()

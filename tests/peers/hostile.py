"""Peers that mean harm, for tests/attack_wires.rs: each speaks its wire for as long as it is asked, and never says a true word.

    hostile.py SEED LISTENER

Prints one line of JSON: where each of them is. `LISTENER` is where gatehouse hears of events over UDP. A line on stdin asks how
often each has struck; the answer is one line of JSON. What is sent is drawn from SEED: noise, frames that were whole before some
of their bytes were changed, lengths that lie, halves of frames. What by chance is a true answer is not sent.
"""

import json
import os
import random
import socket
import struct
import sys
import threading
import time
import tty

SEED, LISTENER = int(sys.argv[1]), int(sys.argv[2])
struck = {name: 0 for name in ("modbus", "serial", "osdp", "rtu", "uhppote", "forged", "mqtt")}


def noise(rng, most=300):
    return rng.randbytes(rng.randrange(1, most))


def mutated(rng, frame):
    frame = bytearray(frame)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(frame))
        match rng.randrange(4):
            case 0:
                frame[at] ^= 1 << rng.randrange(8)
            case 1:
                frame[at] = rng.choice((0, 0xFF, 0x7F, 0x80))
            case 2:
                del frame[at:]
                break
            case 3:
                frame[at:at] = rng.randbytes(rng.randrange(1, 9))
    return bytes(frame) or b"\0"


def serve(name, answer):
    """A TCP server that answers whatever is asked with what `answer` draws."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection, rng):
        with connection:
            try:
                while asked := connection.recv(4096):
                    for _ in range(rng.randrange(1, 4)):
                        connection.sendall(answer(rng, asked))
                        struck[name] += 1
                    if rng.randrange(8) == 0:
                        return
            except OSError:
                return

    def all_of_them():
        nth = 0
        while True:
            connection, _ = listener.accept()
            nth += 1
            threading.Thread(target=one, args=(connection, random.Random(f"{SEED} {name} {nth}")), daemon=True).start()

    threading.Thread(target=all_of_them, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


# --- Modbus TCP: no checksum, so a true answer would be one of the right number, unit, function and length ---


def modbus(rng, asked):
    number, unit, function = asked[:2], asked[6:7], asked[7:8]
    data = rng.randbytes(rng.choice((0, 2, 4, 250)))
    body = unit + function + bytes([rng.choice((len(data), 0, 255, 1))]) + data
    whole = number + b"\0\0" + struct.pack(">H", rng.choice((len(body), 0, 1, 65535, 260))) + body
    said = mutated(rng, whole) if rng.randrange(3) else noise(rng)
    count = struct.unpack(">H", asked[10:12])[0] if len(asked) >= 12 else 0
    told = said[:2] == number and said[2:4] == b"\0\0" and said[6:7] == unit and said[7:8] == function
    return noise(rng, 7) if told and len(said) >= 9 and said[8] == 2 * count else said


# --- lines with a checksum: what is mutated has it wrong ---


def sum_of(frame):
    return frame + bytes([sum(frame) & 0xFF])


def serial(rng, asked):
    address = asked[1:7] if len(asked) > 8 else b"\x01\0\0\0\0\0"
    whole = b"\xfe\xfe" + sum_of(b"\x68" + address + b"\x68\x91" + bytes([8]) + rng.randbytes(8)) + b"\x16"
    broken = bytearray(whole)
    broken[-2] ^= rng.randrange(1, 256)
    return rng.choice((bytes(broken), mutated(rng, broken), noise(rng), whole[: rng.randrange(1, 12)]))


def osdp(rng, asked):
    body = b"\x53\x81" + struct.pack("<H", rng.choice((8, 14, 0, 65535, 1440))) + bytes([rng.randrange(8)]) + rng.randbytes(rng.choice((1, 7, 200)))
    return rng.choice((mutated(rng, body), noise(rng), body, mutated(rng, asked)))


def pty(name, draw):
    """A pseudo-terminal on which somebody talks without end."""
    near, far = os.openpty()
    tty.setraw(far)
    rng = random.Random(f"{SEED} {name}")

    def talk():
        while True:
            try:
                os.write(near, draw(rng))
                struck[name] += 1
            except OSError:
                pass
            time.sleep(0.005)

    def listen():
        while True:
            try:
                os.read(near, 4096)
            except OSError:
                time.sleep(0.05)

    threading.Thread(target=talk, daemon=True).start()
    threading.Thread(target=listen, daemon=True).start()
    return os.ttyname(far)


def rtu(rng):
    body = bytes([1, 3, 2]) + rng.randbytes(2)
    return rng.choice((body + b"\0\0", mutated(rng, body + rng.randbytes(2)), noise(rng, 40)))


# --- UHPPOTE: nothing proves who a datagram is from but its address ---


def event(serial, index, card):
    said = bytearray(64)
    said[0], said[1] = 0x17, 0x20
    said[4:8] = struct.pack("<I", serial)
    said[8:12] = struct.pack("<I", index)
    said[12:16] = b"\x01\x01\x01\x01"
    said[16:20] = struct.pack("<I", card)
    said[20:27] = b"\x20\x26\x11\x22\x10\0\0"
    return bytes(said)


def controller():
    """At the controller's address somebody answers nonsense; from another address come true-looking answers and events."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 0))
    elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    elsewhere.bind(("127.0.0.2", 0))
    rng = random.Random(f"{SEED} uhppote")

    def answer():
        while True:
            asked, sender = here.recvfrom(2048)
            wrong = bytearray(event(rng.randrange(1 << 32), rng.randrange(9), rng.randrange(1 << 24)))
            said = rng.choice((mutated(rng, asked), noise(rng), bytes(wrong)))
            is_true = len(said) == 64 and said[:2] == asked[:2] and said[4:8] == asked[4:8]
            here.sendto(said[:-1] if is_true else said, sender)
            struck["uhppote"] += 1
            # What asks is answered with its own words, as a controller would, but from an address that is not the controller's.
            elsewhere.sendto(bytes([asked[0], asked[1], 0, 0]) + asked[4:8] + event(0, 7, 10058400)[8:], sender)
            struck["forged"] += 1

    def forge():
        while True:
            for said in (event(423187757, rng.randrange(1, 99), 10058400), noise(rng, 200)):
                try:
                    elsewhere.sendto(said, ("127.0.0.1", LISTENER))
                    struck["forged"] += 1
                except OSError:
                    pass
            time.sleep(0.01)

    threading.Thread(target=answer, daemon=True).start()
    threading.Thread(target=forge, daemon=True).start()
    return f"127.0.0.1:{here.getsockname()[1]}"


# --- MQTT: a broker that is none ---


def mqtt(rng, asked):
    publish = b"\x30" + bytes([rng.choice((8, 127, 0, 200))]) + struct.pack(">H", rng.choice((4, 0, 65535))) + b"tank\xff" + rng.randbytes(3)
    connack = b"\x20\x02\0\0"
    return rng.choice((connack + mutated(rng, publish), connack + noise(rng), mutated(rng, connack), noise(rng),
                       b"\x20\xff\xff\xff\xff\x7f", connack + b"\x30\xff\xff\xff\x7f" + noise(rng)))


def main():
    at = {
        "modbus": serve("modbus", modbus), "serial": serve("serial", serial), "osdp": serve("osdp", osdp),
        "mqtt": serve("mqtt", mqtt), "rtu": pty("rtu", rtu), "uhppote": controller(),
    }
    print(json.dumps(at), flush=True)
    for _ in sys.stdin:
        print(json.dumps(struck), flush=True)


main()

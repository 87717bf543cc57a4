"""uhppoted's own encoder and decoder, for tests/uhppote.rs.

A line on stdin is a question, a line on stdout its answer in hexadecimal or JSON:
`encode NAME ARGUMENTS...` (numbers; `a.b.c.d` an address; `2026-01-02T03:04:05` a time), `decode NAME HEX`.
"""

import datetime
import ipaddress
import json
import sys

from uhppoted import decode, encode


def argument(word):
    if "T" in word:
        return datetime.datetime.fromisoformat(word)
    return ipaddress.IPv4Address(word) if "." in word else int(word)


for line in sys.stdin:
    what, name, *rest = line.split()
    if what == "encode":
        print(bytes(getattr(encode, name)(*map(argument, rest))).hex(), flush=True)
    else:
        print(json.dumps(vars(getattr(decode, name)(bytes.fromhex(rest[0]))), default=str), flush=True)

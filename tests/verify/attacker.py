"""Somebody at the box with a keyboard and Python: changes a journal, and knows how gatehouse writes its rows.

    attacker.py JOURNAL ATTACK [NUMBER …]
"""

import hashlib
import sqlite3
import struct
import sys
import zlib
from json import loads


def row_sum(*values):
    """As `row_sum` of the program: CRC-32 over each value with its type and length."""
    said = b""
    for value in values:
        if value is None:
            said += b"\0"
        elif isinstance(value, int):
            said += b"\1" + struct.pack("<q", value)
        else:
            value = value.encode()
            said += b"\3" + struct.pack("<Q", len(value)) + value
    return zlib.crc32(said)


db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.create_function("row_sum", -1, row_sum)
attack, numbers = sys.argv[2], [int(number) for number in sys.argv[3:]]
gateway, epoch = db.execute("SELECT id, epoch FROM gateway").fetchone()


def text(seq):
    return db.execute("SELECT json FROM event WHERE seq = ?", (seq,)).fetchone()[0]


def write(seq, json, and_sum=True):
    db.execute("UPDATE event SET json = ? WHERE seq = ?", (json, seq))
    if and_sum:
        db.execute("UPDATE event SET sum = row_sum(seq, at, kind, ticket, json) WHERE seq = ?", (seq,))


def chain_anew(above=0):
    """The whole chain, as if what is there had always been so."""
    link = hashlib.sha256(f"gatehouse\0{gateway}\0{epoch}".encode()).digest()
    for seq, kind, json, digest in db.execute("SELECT seq, kind, json, digest FROM event WHERE seq > ? ORDER BY seq", (above,)).fetchall():
        digest = digest or hashlib.sha256(json.encode()).digest()
        link = hashlib.sha256(link + seq.to_bytes(8, "big") + kind.encode() + b"\0" + digest).digest()
        db.execute("UPDATE event SET chain = ? WHERE seq = ?", (link, seq))


def anchors_anew():
    chain = "(SELECT chain FROM event WHERE seq = {})"
    db.execute(f"UPDATE consumer SET chain = {chain.format('acknowledged')} WHERE chain IS NOT NULL")
    db.execute(f"UPDATE anchor SET chain = {chain.format('anchor.seq')}")


def no_anchors():
    db.execute("DELETE FROM anchor")
    db.execute("UPDATE consumer SET chain = NULL, chained = NULL")


def blank(seq, word, time):
    """As the program makes a stub."""
    json = text(seq)
    db.execute("UPDATE event SET digest = ? WHERE seq = ?", (hashlib.sha256(json.encode()).digest(), seq))
    write(seq, json[: json.index(',"data":')] + f',"{word}":"{time}","data":null}}')


def said(seq):
    return loads(text(seq))


def row_anew(table, columns, change, where, value):
    """A row is changed, and its sum is right again."""
    db.execute(f"UPDATE {table} SET {change} WHERE {where} = ?", (value,))
    db.execute(f"UPDATE {table} SET sum = row_sum({columns}) WHERE {where} = ?", (value,))


def granted_to_denied(json):
    changed = json.replace('"n":', '"m":')
    assert changed != json
    return changed


first = numbers[0]
if attack == "text":
    write(first, granted_to_denied(text(first)), and_sum=False)
elif attack == "text-and-sum":
    write(first, granted_to_denied(text(first)))
elif attack == "text-and-chain":
    write(first, granted_to_denied(text(first)))
    chain_anew()
elif attack == "text-chain-and-anchors":
    write(first, granted_to_denied(text(first)))
    chain_anew()
    anchors_anew()
elif attack == "kind":
    db.execute("UPDATE event SET kind = 'device.offline' WHERE seq = ?", (first,))
    write(first, text(first).replace("device.online", "device.offline"))
elif attack == "delete":
    db.execute("DELETE FROM event WHERE seq = ?", (first,))
elif attack == "swap":
    one, other = text(first), text(numbers[1])
    write(first, other)
    write(numbers[1], one)
elif attack == "append":
    json = text(first).replace(f"/{first}\"", f"/{first + 1}\"").replace(f"{first:020}", f"{first + 1:020}")
    db.execute("INSERT INTO event(seq, at, kind, json) SELECT ?, at, kind, ? FROM event WHERE seq = ?", (first + 1, json, first))
    write(first + 1, json)
elif attack == "truncate":
    db.execute("DELETE FROM event WHERE seq > ?", (first,))
elif attack == "chain-value":
    link = bytearray(db.execute("SELECT chain FROM event WHERE seq = ?", (first,)).fetchone()[0])
    link[7] ^= 1
    db.execute("UPDATE event SET chain = ? WHERE seq = ?", (bytes(link), first))
elif attack == "stub":
    blank(first, "erased", "2026-11-22T00:00:00.000Z")
elif attack == "expired":
    blank(first, "expired", "2026-11-22T00:00:00.000Z")
elif attack in ("expired-as", "erased-as"):
    # At the time of one that is genuine.
    word = attack.removesuffix("-as")
    blank(first, word, said(numbers[1])[word])
elif attack == "stub-time":
    stub = said(first)
    write(first, text(first).replace(f'"expired":"{stub["expired"]}"', '"expired":"2026-11-22T00:00:00.000Z"'))
elif attack == "stub-subject":
    write(first, text(first).replace(said(first)["subject"], "devices/another"))
elif attack == "no-order":
    assert db.execute("DELETE FROM command WHERE key = ?", (said(first)["data"]["key"],)).rowcount == 1
elif attack == "no-key":
    digest = hashlib.sha256(said(first)["data"]["key"].encode()).digest()[:16]
    assert db.execute("DELETE FROM used_key WHERE digest = ?", (digest,)).rowcount == 1
elif attack.startswith("order-row"):
    change = {
        "order-row": "outcome = 'failed'",
        "order-row-target": "target = 'another'",
        "order-row-by": "by = 'Li'",
        "order-row-reason": "reason = 'another'",
        "order-row-no-reason": "reason = NULL",
        "order-row-end": "expires_at = 1",
        "order-row-detail": "detail = 'another'",
    }[attack]
    columns = "key, device, action, target, reason, by, begun_at, ended_at, outcome, detail, role, via, expires_at, effect"
    row_anew("command", columns, change, "key", said(first)["data"]["key"])
elif attack == "ticket-row":
    change = "state = 'closed', closed_at = 1, json = replace(json, '\"state\":\"open\"', '\"state\":\"closed\"')"
    columns = "id, state, device, closed_at, subject, life, json"
    row_anew("ticket", columns, change, "id", said(first)["data"]["id"])
elif attack == "no-ticket":
    db.execute("DELETE FROM ticket WHERE id = ?", (said(first)["data"]["id"],))
elif attack == "digest":
    json = text(first)
    db.execute("UPDATE event SET digest = ? WHERE seq = ?", (hashlib.sha256(json.encode()).digest(), first))
    write(first, granted_to_denied(json))
elif attack == "oldest":
    db.execute("DELETE FROM event WHERE seq < ?", (first,))
elif attack == "no-chain":
    # As if it were of before there was a chain.
    write(first, granted_to_denied(text(first)))
    db.execute("UPDATE event SET chain = NULL, digest = NULL")
    no_anchors()
elif attack == "no-value":
    db.execute("UPDATE event SET chain = NULL WHERE seq = ?", (first,))
elif attack == "no-sum":
    db.execute("UPDATE event SET sum = NULL WHERE seq = ?", (first,))
elif attack == "begun-later":
    db.execute("UPDATE gateway SET unchained = ?", (first,))
elif attack == "begun-later-and-anew":
    write(first, granted_to_denied(text(first)))
    db.execute("UPDATE event SET chain = NULL, digest = NULL WHERE seq <= ?", (first,))
    db.execute("UPDATE gateway SET unchained = ?", (first,))
    chain_anew(first)
    no_anchors()
elif attack == "older-format":
    write(first, granted_to_denied(text(first)))
    no_anchors()
    for table, column in ("event", "chain"), ("event", "digest"), ("gateway", "unchained"):
        db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    db.execute("PRAGMA user_version = 4")
elif attack == "erasure-row":
    db.execute(
        "INSERT INTO erasure(pseudonym, by, begun, told, sum) VALUES (?1, 'x', 1, ?2, row_sum(?1, 'x', NULL, 1))",
        ("p-0000000000000000", first),
    )
elif attack == "retired":
    for written in numbers[1:]:
        db.execute("UPDATE event SET at = ? WHERE seq = ?", (written, first + 1))
        write(first + 1, text(first + 1))
    db.execute("INSERT OR REPLACE INTO gap(seq, chain) SELECT seq, chain FROM event WHERE seq = ?", (first,))
    db.execute("DELETE FROM event WHERE seq <= ?", (first,))
else:
    sys.exit(f"no such attack: {attack}")

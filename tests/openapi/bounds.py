"""What would take long takes a moment: a scan of all addresses, in which nothing else is polled, and waiting for news.
An empty list and an empty word look the same in a query: that is asked for as the list, which is allowed."""

import schemathesis


def within(value, least, most):
    return type(value) in (int, float) and least <= value <= most


@schemathesis.hook
def filter_query(context, query):
    return not query or "" not in (query.get("state"), query.get("types"))


@schemathesis.hook
def before_call(context, case, kwargs):
    body, query = case.body, case.query
    if case.operation.path.endswith("/scan") and isinstance(body, dict):
        for end in ("from", "to"):
            if within(body.get(end), 4, 255) and body[end] == int(body[end]):
                body[end] = int(body[end]) % 4
        body.setdefault("to", 3)
        body.setdefault("timeout_ms", 10)
        if within(body.get("timeout_ms"), 10, 2**64 - 1) and body["timeout_ms"] == int(body["timeout_ms"]):
            body["timeout_ms"] = 10
    if within(query.get("wait"), 0, 60):
        query["wait"] = 0.1

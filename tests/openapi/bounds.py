"""What would take long takes a moment: a scan of all addresses, in which nothing else is polled, and waiting for news."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    body, query = case.body, case.query
    if case.operation.path.endswith("/scan") and isinstance(body, dict):
        for end in ("from", "to"):
            if isinstance(body.get(end), int):
                body[end] = body[end] % 4 if 0 <= body[end] <= 255 else body[end]
        body.setdefault("to", 3)
    if isinstance(query.get("wait"), (int, float)) and 0 < query["wait"] <= 60:
        query["wait"] = 0.1

"""A centre that dislikes everything and repeats what it was sent, as debugging proxies and firewalls do; Python's http.server.

Prints its port, then a line for each request it took.
"""

import http.server
import json


class Centre(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        said = json.dumps({"to": self.path, "token": self.headers["Authorization"], "holder": "13800138000"}).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        print(len(said), flush=True)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Centre)
print(server.server_address[1], flush=True)
server.serve_forever()

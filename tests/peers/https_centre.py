"""A centre over HTTPS that others wrote: Python's http.server and ssl. It wants a client certificate.

https_centre.py CERT KEY CLIENT_CA: prints its port, then a line for each event batch it took: how long it was, and who came.
"""

import http.server
import ssl
import sys


class Centre(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        who = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        print(len(body), who["commonName"], flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


cert, key, client_ca = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.load_verify_locations(client_ca)
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Centre)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()

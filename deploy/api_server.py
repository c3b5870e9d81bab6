"""An API server of Kubernetes that takes everything: `deploy/functions` submits to it."""
import http.server
import json
import ssl
import sys


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        thing = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        thing.setdefault("metadata", {}).update(uid="1", resourceVersion="1", namespace="default")
        answer = json.dumps(thing).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PATCH = do_PUT = do_POST


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certfile=sys.argv[2], keyfile=sys.argv[1])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"ready https://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()

"""An HTTP origin with Python's standard library: `python3 http_origin.py PORT`.

The path selects the response: /missing-... is answered 404, /broken-... is answered 500, and
/slow-... takes 300 ms. Other responses are a text with the path and the number of its requests.
"""

import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

asked = Counter()
counting = threading.Lock()


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with counting:
            asked[self.path] += 1
            number = asked[self.path]
        name = self.path.removeprefix("/").partition("-")[0]
        if name == "slow":
            time.sleep(0.3)
        status = {"missing": 404, "broken": 500}.get(name, 200)
        body = f"{self.path}#{number}".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # By default, a response is two packets, and the second waits for the first to be
    # acknowledged.
    Origin.wbufsize = -1
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()

"""An HTTP origin out of Python's own library: `python3 http_origin.py PORT`.

What it answers is in the name of what it is asked for: /missing-... is 404, /broken-... is 500, /slow-... takes 300 ms, and
anything else is a text that says how often it was asked for.
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
    # The library's own handler answers in two packets, the second of which would wait for the first to be acknowledged.
    Origin.wbufsize = -1
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()

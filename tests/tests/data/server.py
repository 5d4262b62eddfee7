"""A server of embeddings and answers in a process of its own, for tests of what becomes of such a process.

python3 server.py PORT [ANSWERS]   Port 0 is any. After so many answers it says so, and gives no further one.

What it says on standard error, a line each: `listening PORT`, `embedded [TEXT, …]`, `answered ANSWERS`.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()


class Server(ThreadingHTTPServer):
    def __init__(self, port: int, answers: int | None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.left = answers
        self.answers = answers


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.give({"data": []})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOCK:
            if self.server.left == 0:
                say(f"answered {self.server.answers}")
            else:
                texts = asked.get("input", [])
                if texts:
                    say(f"embedded {json.dumps(texts)}")
                    data = [{"index": at, "embedding": letters(text)} for at, text in enumerate(texts)]
                    self.give({"data": data, "model": "letters"})
                else:
                    message = {"content": "Lift is what carries a wing."}
                    self.give({"choices": [{"index": 0, "message": message}]})
                if self.server.left is not None:
                    self.server.left -= 1
                return
        # Until somebody ends this process.
        threading.Event().wait()

    def give(self, answer: dict[str, object]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def letters(text: str) -> list[int]:
    counts = [0] * 64
    for byte in text.encode():
        counts[byte % 64] += 1
    return counts


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    server = Server(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
    say(f"listening {server.server_address[1]}")
    server.serve_forever()

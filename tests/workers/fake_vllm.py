"""Plays vLLM for tests of `serve_models`: a script of the standard library that takes vLLM's options.

It has an engine, a child that ignores SIGTERM and outlives it as vLLM's does. What it does is told by a JSON file, the
model's path (`--model`), read again at each request:
  {"start_s": 0, "fail": "words of a start that fails", "hang": false, "forward": "http://…/v1",
   "device": "a file", "name": "of another model"}
It holds the device (a lock that its engine shares) and fails to start where another process has it. POST /die ends it
without its engine; POST /v1/chat/completions answers with the model's name, or with what `forward` answers.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ENGINE = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def option(name: str, default: str = "") -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def behaviour() -> dict[str, object]:
    path = Path(option("--model"))
    try:
        return dict(json.loads(path.read_text())) if path.is_file() else {}
    except ValueError:
        return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if behaviour().get("hang"):
            time.sleep(600)
        if self.path == "/health":
            self.reply(b"")
        elif self.path == "/metrics":
            self.reply(METRICS.replace("NAME", option("--served-model-name")).encode(), "text/plain")
        elif self.path == "/v1/models" and self.may():
            name = behaviour().get("name") or option("--served-model-name")
            self.reply(json.dumps({"data": [{"id": name}]}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/die":
            os.kill(os.getpid(), signal.SIGKILL)
        if (to := behaviour().get("forward")) and self.may():
            self.forward(f"{to}/chat/completions", body)
        elif self.may():
            message = {"role": "assistant", "content": option("--served-model-name")}
            self.reply(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode())

    def forward(self, address: str, body: bytes) -> None:
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.reply(answer.read())
        except urllib.error.HTTPError as error:
            self.reply(error.read(), status=error.code)

    def may(self) -> bool:
        key = os.environ.get("VLLM_API_KEY")
        if not key or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self.reply(b"{}", status=401)
        return False

    def reply(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="NAME"} 3.0
vllm:num_requests_waiting{engine="0",model_name="NAME"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="NAME"} 0.25
vllm:num_preemptions_total{engine="0",model_name="NAME"} 2.0
vllm:prefix_cache_queries_total{engine="0",model_name="NAME"} 1000.0
vllm:prefix_cache_hits_total{engine="0",model_name="NAME"} 640.0
vllm:prompt_tokens_total{engine="0",model_name="NAME"} 5000.0
vllm:generation_tokens_total{engine="0",model_name="NAME"} 700.0
"""


def hold(device: str) -> bool:
    """Lock the device until this process and its engine are gone."""
    handle = os.open(device, os.O_RDWR | os.O_CREAT)
    os.set_inheritable(handle, True)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> None:
    told = behaviour()
    print("INFO 01-01 00:00:00 [api_server.py:1] fake vLLM", " ".join(sys.argv[1:]), flush=True)
    if told.get("device") and not hold(str(told["device"])):
        told["fail"] = "the device is taken"
    if told.get("fail"):
        print(f"(EngineCore pid=7) ERROR 01-01 00:00:00 [core.py:7] ValueError: {told['fail']}", flush=True)
        sys.exit(1)
    subprocess.Popen([sys.executable, "-c", ENGINE, "VLLM::EngineCore"], close_fds=False)
    time.sleep(float(str(told.get("start_s", 0))))
    ThreadingHTTPServer((option("--host", "127.0.0.1"), int(option("--port"))), Handler).serve_forever()


if __name__ == "__main__":
    main()

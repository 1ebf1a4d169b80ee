"""The real vLLM (CPU build) serving the tiny model: a process group that can be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.instance import ROOT, free_port, wait_for

PYTHON = Path(os.environ.get("REASONMED_VLLM_PYTHON", ROOT / ".venv-engine" / "bin" / "python"))
MODEL = "tiny"
CONTEXT = 4096
ENV = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "2"}
# On a CPU a prompt with a seed that is prefilled in parts kills vLLM's engine ("CPU Generator does not use offset").
ON_CPU = ("--enforce-eager", "--no-enable-chunked-prefill")
OPTIONS = ("--enable-lora", "--max-lora-rank=8", "--enable-prompt-tokens-details")
START_S = 300.0


class VllmServer:
    """A context manager. What the server says goes to `vllm.log` beside the model."""

    def __init__(self, folder: Path) -> None:
        self.model, self.adapter, self.log = folder / "model", folder / "adapter", folder / "vllm.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> VllmServer:
        self.make_model()
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def make_model(self) -> None:
        words = [str(PYTHON), str(ROOT / "tests" / "engine" / "tiny_model.py"), str(self.model), str(self.adapter)]
        subprocess.run(words, env={**os.environ, **ENV}, check=True, capture_output=True)

    def start(self) -> None:
        words = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model)]
        words += ["--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--max-model-len", str(CONTEXT), "--dtype", "float32", *ON_CPU, *OPTIONS]
        env = {**os.environ, **ENV, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True)
        wait_for(self._is_up, "vLLM", START_S)

    def kill(self) -> None:
        """SIGKILL to the whole group: the API's process alone would leave its engine behind."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as reply:
            return str(reply.read().decode())

    def post(self, path: str, body: dict[str, Any]) -> str:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(reply.read().decode())

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"vLLM ended: {self.log.read_text(errors='replace')[-3000:]}"
        try:
            self.get("/health")
        except OSError:
            return False
        return True

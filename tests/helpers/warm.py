"""A warm process that forks one process for each command: a process of its own without seconds of imports.

The warm process has imported libraries, and nothing of gelora, no plug-in and no test. What it forks is thereby as a
fresh `python`, but that these libraries are there already. Where the start of a process is itself what is tested, and
where signals or several processes are, take `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = dict(os.environ)  # when the tests are collected: before any of them changes it
LIBRARIES = (
    *("torch", "torch._dynamo", "torch.distributed.tensor", "accelerate", "datasets", "evaluate", "peft", "hydra"),
    *("transformers.activations", "transformers.modeling_layers", "transformers.loss.loss_utils"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "hydra.core.override_parser.overrides_parser"),
    "scipy.stats",
)
"""What a run imports."""
LIGHT_LIBRARIES = ("numpy", "omegaconf", "matplotlib.figure", "matplotlib.backends.backend_agg", "scipy.special")
"""What imports neither torch nor transformers, for tests of what does."""
READ_AT_IMPORT = ("HF_", "TRANSFORMERS_", "OMP_", "MKL_", "TOKENIZERS_", "TORCH", "CUDA", "PYTHON", "MPL")
"""How environment variables begin that libraries read when they are imported, or Python when it starts."""
SET_BY_TORCH = "TORCHINDUCTOR_CACHE_DIR"
"""What torch sets to its own default once parts of it are imported: no test has changed it then."""
SECONDS = 300.0
"""How long a command may take."""


class WarmProcess:
    """A process that has imported `libraries`, started at its first use; it ends with the process that uses it."""

    def __init__(self, libraries: Sequence[str]) -> None:
        self.libraries = libraries
        self.server: subprocess.Popen[bytes] | None = None

    def run_gelora(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Do what `python -m gelora_cli ARGUMENTS` does, in a process that is forked."""
        return self._run(["-m", "gelora_cli", *arguments], {"module": "gelora_cli"})

    def run_code(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Do what `python -c CODE ARGUMENTS` does, in a process that is forked."""
        return self._run(["-c", code, *arguments], {"code": code})

    def _run(self, words: list[str], what: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if environment_changed():
            command = [sys.executable, *words]
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        return self._ask([words[0], *words[2:]], what)

    def _ask(self, argv: list[str], what: dict[str, str]) -> subprocess.CompletedProcess[str]:
        server = self._started()
        assert server.stdin and server.stdout
        with tempfile.TemporaryDirectory() as place:
            out, err = Path(place, "out"), Path(place, "err")
            request = {"argv": argv, "out": str(out), "err": str(err), "cwd": str(Path.cwd()), **what}
            server.stdin.write(json.dumps(request | {"environment": dict(os.environ)}).encode() + b"\n")
            server.stdin.flush()
            answer = server.stdout.readline() if select.select([server.stdout], [], [], SECONDS)[0] else b""
            assert answer, f"no end after {SECONDS:.0f} s, or the warm process is gone: {server.poll()}"
            shown = [path.read_text(encoding="utf-8") for path in (out, err)]
        return subprocess.CompletedProcess(argv, int(answer), *shown)

    def _started(self) -> subprocess.Popen[bytes]:
        if self.server is None or self.server.poll() is not None:
            command = [sys.executable, "-m", "tests.helpers.warm", *self.libraries]
            self.server = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, cwd=ROOT
            )
            atexit.register(self.server.communicate)  # closes its input, at which it ends
        return self.server


ROOT = Path(__file__).resolve().parent.parent.parent
WARM = WarmProcess(LIBRARIES)
WITHOUT_TORCH = WarmProcess(LIGHT_LIBRARIES)


def environment_changed() -> bool:
    """Return whether a test changes what the libraries have read already, so that its process must start anew."""
    names = {*os.environ, *ENVIRONMENT} - {SET_BY_TORCH}
    return any(os.environ.get(name) != ENVIRONMENT.get(name) for name in names if name.startswith(READ_AT_IMPORT))


def serve() -> None:
    """Fork a process for each request from standard input, and answer with its exit status."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("r+b") as nowhere:
        os.dup2(nowhere.fileno(), 0)
        os.dup2(nowhere.fileno(), 1)  # what a library prints is no answer
    for name in sys.argv[1:]:
        importlib.import_module(name)
    for line in requests:
        pid = os.fork()
        if pid == 0:
            requests.close()
            work(json.loads(line))  # does not return
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answers.write(f"{status}\n".encode())
        answers.flush()


def work(request: dict[str, Any]) -> None:
    """Be the process of a request, which ends here."""
    code = 1
    try:
        for number, name in ((1, "out"), (2, "err")):
            with Path(request[name]).open("wb") as file:
                os.dup2(file.fileno(), number)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = request["argv"]
        code = do(request)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # without the exit handlers of the warm process, of which this one is a copy


def do(request: dict[str, Any]) -> int:
    """Return the exit status of the request's module or code, as Python does."""
    try:
        if "module" in request:
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        else:
            exec(request["code"], {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve()

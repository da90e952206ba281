"""Where a model is: directories, packages, and a hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from omegaconf import OmegaConf

from gelora_cli.config.shipped import config_dir, known_model
from gelora_cli.models.locate import CONVERSION_AUTHOR, CONVERSION_TITLE, resolve_model
from tests.helpers.models import from_directory, refusal
from tests.helpers.tiny import make_tiny

MODELS = Path(__file__).parents[2] / "configs" / "model"
MINILM: Any = OmegaConf.load(MODELS / "minilm.yaml")


def test_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    first = from_directory(make_tiny("bert", tmp_path / "first"))
    copy = from_directory(shutil.copytree(tmp_path / "first", tmp_path / "copy"))
    (tmp_path / "copy" / "README.md").write_text("not of the model", encoding="utf-8")
    assert from_directory(tmp_path / "copy").fingerprint == copy.fingerprint == first.fingerprint
    assert from_directory(make_tiny("bert", tmp_path / "other", seed=1)).fingerprint != first.fingerprint
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        changed = shutil.copytree(tmp_path / "first", tmp_path / name)
        (changed / name).write_text((changed / name).read_text(encoding="utf-8") + "\n", encoding="utf-8")
        assert from_directory(changed).fingerprint != first.fingerprint


def test_path_is_expanded_and_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny("bert", tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~/mine", "mine", "./mine", str(tmp_path / "mine")):
        resolved = resolve_model(hub="never/asked", path=path, package=MINILM.package, sha256="0")
        assert (resolved.source, resolved.directory) == (path, tmp_path / "mine")


def test_missing_directory_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "my-bert").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for path in ("models/my-bret", "./models/my-bret", str(tmp_path / "models" / "my-bret")):
        message = refusal(resolve_model, hub=None, path=path)
        assert f"model.path={path}" in message and "config.json" in message
        assert f"Did you mean {tmp_path / 'models' / 'my-bert'}?" in message


def test_home_directory_that_is_not_there_is_no_directory() -> None:
    path = "~nobody-of-that-name/mine"
    assert f"model.path={path}: no such directory" in refusal(resolve_model, hub=None, path=path)
    assert known_model(config_dir(), path) is None


def test_file_as_path_is_refused_with_its_directory(tmp_path: Path) -> None:
    directory = make_tiny("bert", tmp_path)
    message = refusal(resolve_model, hub=None, path=str(directory / "model.safetensors"))
    assert "is a file" in message and message.endswith(f"{directory}.")


@pytest.mark.parametrize("path", [None, ""])
def test_no_model_at_all_is_refused(path: str | None) -> None:
    assert "model.path=DIR" in refusal(resolve_model, hub=None, path=path)


@pytest.mark.parametrize(
    ("removed", "added", "named"),
    [
        ("config.json", None, "no config.json"),
        ("model.safetensors", None, "no model.safetensors"),
        ("model.safetensors", "pytorch_model.bin", "only pytorch_model.bin. Pickled weights"),
        ("model.safetensors", "weights.safetensors", "only weights.safetensors"),
        ("config.json", "adapter_config.json", "holds an adapter"),
        ("vocab.txt", "adapter_config.json", "holds an adapter"),
    ],
)
def test_incomplete_directory_is_refused(tmp_path: Path, removed: str, added: str | None, named: str) -> None:
    make_tiny("bert", tmp_path)
    (tmp_path / removed).unlink(missing_ok=True)
    if added:
        (tmp_path / added).write_bytes(b"{}")
    message = refusal(from_directory, tmp_path)
    assert str(tmp_path) in message and named in message
    assert "accepted" in message or "save_pretrained" in message


def test_package_is_found_without_importing_it_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny("bert", tmp_path / "gelora_test_package" / "model")
    (tmp_path / "gelora_test_package" / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    options: dict[str, Any] = {"hub": "never/asked", "path": None, "package": "gelora_test_package"}
    resolved = resolve_model(**options)
    assert resolved.directory == tmp_path / "gelora_test_package" / "model"
    assert resolved.source == "package gelora_test_package"
    message = refusal(resolve_model, **options, sha256="0" * 64)
    assert "0" * 64 in message and "sha256" in message and "again" in message


REPOSITORY = "owner/name"
MAIN, CONVERTED = "a" * 40, "b" * 40


class Hub:
    """A hub on this machine with one repository: its revisions, their files and its pull requests."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.parents: dict[str, list[str]] = {}
        self.requests: list[dict[str, Any]] = []
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler, body: bool) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.asked.append(path)
        if path.startswith(f"/{REPOSITORY}/resolve/"):
            commit, _, name = path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")
            content = (self.files[commit] / name).read_bytes()
        else:
            content = json.dumps(self.api(path)).encode()
            commit = ""
        found = content != b"null"
        content = content if found else b"{}"
        handler.send_response(200 if found else 404)
        if not found:
            handler.send_header("X-Error-Code", "RepoNotFound" if REPOSITORY not in path else "RevisionNotFound")
        handler.send_header("X-Repo-Commit", commit)
        handler.send_header("ETag", f'"{commit}{len(content)}{path.rpartition("/")[2]}"')
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if body:
            handler.wfile.write(content)

    def api(self, path: str) -> Any:
        what, _, revision = path.removeprefix(f"/api/models/{REPOSITORY}").removeprefix("/").partition("/")
        commit = {"": MAIN, "main": MAIN, "refs/pr/4": CONVERTED}.get(revision, revision)
        if what == "discussions":
            return {"discussions": self.requests, "count": len(self.requests), "start": 0}
        if commit not in self.files or REPOSITORY not in path:
            return None
        if what == "commits":
            ids = [commit, *self.parents[commit]]
            return [
                {"id": i, "title": "", "message": "", "date": "2023-01-01T00:00:00.000Z", "authors": []} for i in ids
            ]
        names = sorted(file.name for file in self.files[commit].iterdir())
        if what == "tree":
            return [{"type": "file", "path": name, "size": 1, "oid": f"{commit}{name}"} for name in names]
        return {"id": REPOSITORY, "sha": commit, "siblings": [{"rfilename": name} for name in names]}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Return a hub whose `main` has safetensors, and a pickle and a README that nobody needs."""
    hub = Hub()
    hub.files = {MAIN: make_tiny("bert", tmp_path / "main")}
    hub.parents = {MAIN: []}
    for name in ("pytorch_model.bin", "README.md"):
        (hub.files[MAIN] / name).write_bytes(b"unused")
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def converted(hub: Hub, tmp_path: Path, **fields: Any) -> None:
    """Take the safetensors off `main`, and let the converter's pull request propose them."""
    hub.files[CONVERTED] = shutil.copytree(hub.files[MAIN], tmp_path / "converted")
    hub.parents[CONVERTED] = [MAIN]
    (hub.files[MAIN] / "model.safetensors").unlink()
    request = {"num": 4, "title": CONVERSION_TITLE, "status": "open", "isPullRequest": True, "isReport": False}
    request |= {"author": {"name": CONVERSION_AUTHOR}, "createdAt": "2023-01-01T00:00:00.000Z"}
    hub.requests = [request | {"repo": {"name": REPOSITORY, "type": "model"}} | fields]


def resolve_apart(home: Path, endpoint: str, *, offline: bool = False, **options: Any) -> dict[str, Any]:
    """Return what `resolve_model` gives in a new process with that `HF_HOME` and `HF_ENDPOINT`."""
    code = (
        "import json, sys\n"
        "from gelora_cli.core.errors import GeloraError\n"
        "from gelora_cli.models.locate import resolve_model\n"
        "try:\n"
        "    found = resolve_model(**json.loads(sys.argv[1]))\n"
        "    answer = {'source': found.source, 'directory': str(found.directory), 'fingerprint': found.fingerprint}\n"
        "except GeloraError as error:\n"
        "    answer = {'error': str(error)}\n"
        "heavy = [name for name in ('torch', 'transformers', 'numpy') if name in sys.modules]\n"
        "print(json.dumps(answer | {'heavy': heavy}))\n"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment = inherited | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline))}
    arguments = json.dumps({"hub": REPOSITORY, "path": None} | options)
    done = subprocess.run(
        [sys.executable, "-c", code, arguments], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


NOWHERE = "http://127.0.0.1:9"


def test_hub_snapshot_is_fetched_pinned_and_found_again_offline(hub: Hub, tmp_path: Path) -> None:
    online = resolve_apart(tmp_path / "home", hub.url)
    assert online["source"] == f"{REPOSITORY}@{MAIN}" and online["heavy"] == []
    assert online["fingerprint"] == from_directory(hub.files[MAIN]).fingerprint
    snapshot = Path(online["directory"])
    assert snapshot.name == MAIN and snapshot.is_relative_to(tmp_path / "home")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in snapshot.iterdir()}
    assert not any("pytorch_model.bin" in path or "README" in path for path in hub.asked)
    assert resolve_apart(tmp_path / "home", hub.url, offline=True) == online
    assert resolve_apart(tmp_path / "home", NOWHERE) == online
    assert resolve_apart(tmp_path / "home", NOWHERE, hub=None, path=REPOSITORY) == online


def test_converters_pull_request_is_taken_where_main_has_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    converted(hub, tmp_path)
    online = resolve_apart(tmp_path / "home", hub.url)
    assert online["source"] == f"{REPOSITORY}@{CONVERTED}"
    assert online["fingerprint"] == from_directory(hub.files[CONVERTED]).fingerprint
    assert resolve_apart(tmp_path / "home", hub.url, offline=True) == online
    assert resolve_apart(tmp_path / "home", hub.url, revision="refs/pr/4") == online


@pytest.mark.parametrize(
    ("fields", "offered"),
    [
        ({"author": {"name": "somebody"}}, False),
        ({"status": "closed"}, False),
        ({"title": "Better weights"}, False),
        ({"isPullRequest": False}, False),
        ({}, True),
    ],
    ids=["author", "closed", "title", "discussion", "main has moved on"],
)
def test_other_pull_requests_are_not_taken(hub: Hub, tmp_path: Path, fields: dict[str, Any], offered: bool) -> None:
    converted(hub, tmp_path, **fields)
    hub.parents[CONVERTED] = ["c" * 40 if offered else MAIN]
    error = resolve_apart(tmp_path / "home", hub.url)["error"]
    assert "only pytorch_model.bin" in error and "save_pretrained" in error
    assert ("model.revision=refs/pr/4" in error) == offered
    assert not any("resolve" in path for path in hub.asked)


def test_unknown_repository_or_revision_is_refused(hub: Hub, tmp_path: Path) -> None:
    missing = resolve_apart(tmp_path / "home", hub.url, hub="owner/other")["error"]
    assert "no public model owner/other" in missing and "model.path=DIR" in missing
    revision = resolve_apart(tmp_path / "home", hub.url, revision="v9")["error"]
    assert f"{REPOSITORY} at revision v9" in revision and "model.revision" in revision


def test_hub_out_of_reach_is_refused(tmp_path: Path) -> None:
    answer = resolve_apart(tmp_path, NOWHERE, path="microsoft/deberta-v3-base")
    assert answer["heavy"] == []
    for part in (f"microsoft/deberta-v3-base can't be fetched from {NOWHERE}", "refused", "model.path=DIR"):
        assert part in answer["error"]
    assert "model=minilm" in answer["error"] and "constraints.txt -e" in answer["error"]
    assert "There is no directory microsoft/deberta-v3-base here" in answer["error"]


def test_cached_snapshot_is_used_offline(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--owner--name"
    directory = make_tiny("bert", folder / "snapshots" / MAIN)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(MAIN, encoding="utf-8")
    answer = resolve_apart(tmp_path, NOWHERE, offline=True)
    assert answer["source"] == f"{REPOSITORY}@{MAIN}"
    assert answer["fingerprint"] == from_directory(directory).fingerprint
    assert resolve_apart(tmp_path, NOWHERE, offline=True, revision=MAIN) == answer
    assert "can't be fetched" in resolve_apart(tmp_path, NOWHERE, offline=True, revision="v2")["error"]
    assert "sha256" in resolve_apart(tmp_path, NOWHERE, offline=True, sha256="0" * 64)["error"]


def test_local_directory_is_resolved_without_heavy_imports(tmp_path: Path) -> None:
    make_tiny("bert", tmp_path / "model")
    assert resolve_apart(tmp_path, NOWHERE, path=str(tmp_path / "model"))["heavy"] == []


@pytest.mark.parametrize("file", sorted(MODELS.glob("*.yaml")), ids=lambda file: file.stem)
def test_model_configuration_says_what_it_is(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    values: Any = OmegaConf.create(text)
    assert text.startswith("# ") and values["name"] == file.stem and values["hub"].count("/") == 1
    assert set(values) <= {"name", "hub", "package", "sha256", "bytes"}

"""Where a model is: in a directory, in an installed package, or on the hub; no torch."""

from __future__ import annotations

import difflib
import glob
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.install import install_gelora
from gelora_cli.core.messages import first_line
from gelora_cli.models.directory_checks import check_directory
from gelora_cli.models.files import (
    MODEL_FILES,
    WEIGHTS,
    WEIGHTS_INDEX,
    describe_missing_safetensors,
    file_digests,
    has_weights,
    read_weight_index,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

HUB_SECONDS = 5.0
CONVERSION_TITLE = "Adding `safetensors` variant of this model"
CONVERSION_AUTHOR = "SFconvertbot"


@dataclass(frozen=True)
class ResolvedModel:
    """A model directory: where it came from, where it is, and the sha256 of its content."""

    source: str
    directory: Path
    fingerprint: str


def resolve_model(
    *,
    hub: str | None,
    path: str | None,
    revision: str | None = None,
    package: str | None = None,
    sha256: str | None = None,
) -> ResolvedModel:
    """Find a model's directory: `path` (a directory or a hub id) if given, else the installed `package`, else `hub`.

    The hub's snapshot is pinned to the commit that `revision` (default `main`) points to; offline, the cached one is
    taken. `sha256` is that of `model.safetensors` of `package` and `hub`; it says nothing about a `path`. The
    fingerprint is the sha256 over the sorted (file name, sha256 of content) of `model_files`, whatever the location.

    Raises:
        GeloraError: no such directory, hub not reachable, no safetensors, or another sha256 than asked for.
    """
    directory, source = _locate(hub, path, revision, package)
    check_directory(directory, source)
    digests = file_digests(directory, source)
    if sha256 and not path and digests.get(WEIGHTS) != sha256:
        raise GeloraError(
            f"{WEIGHTS} of {source} has sha256 {digests.get(WEIGHTS)}, {sha256} is accepted: the file is damaged or "
            f"another one. Install or fetch it again ({directory}), or name another model by model.path=DIR."
        )
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    return ResolvedModel(source, directory, hashlib.sha256(lines.encode()).hexdigest())


def _locate(hub: str | None, path: str | None, revision: str | None, package: str | None) -> tuple[Path, str]:
    """Return the directory and how it is named to the user."""
    if path:
        directory = Path(path).expanduser().absolute()
        if directory.is_dir():
            return directory, path
        if _names_a_directory(path):
            raise _missing_directory(path, directory)
        return _from_hub(path, revision, f"There is no directory {path} here, so it was taken as a hub id. ")
    if package and (folder := _package_folder(package)):
        return folder, f"package {package}"
    if not hub:
        raise GeloraError("No model is named: model.path and model.hub are empty. Give model.path=DIR or model=minilm.")
    return _from_hub(hub, revision, "")


def _names_a_directory(path: str) -> bool:
    """Return whether a path that isn't there was meant as a directory, not as a hub id (`name` or `owner/name`)."""
    if path[0] in "./~" or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        return True
    return "/" in path and Path(path).parent.is_dir()


def _missing_directory(path: str, directory: Path) -> GeloraError:
    if directory.exists():
        return GeloraError(f"model.path={path} is a file; the directory of a model is accepted: {directory.parent}.")
    parent = directory.parent
    siblings = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(directory.name, siblings, n=1)
    hint = f" Did you mean {parent / near[0]}?" if near else ""
    return GeloraError(
        f"model.path={path}: there is no directory {directory}.{hint} "
        f"A directory with config.json, {WEIGHTS} and the tokenizer's files is accepted, or a hub id."
    )


def _package_folder(package: str) -> Path | None:
    """Return the folder `model/` of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _from_hub(repository: str, revision: str | None, note: str) -> tuple[Path, str]:
    """Return the snapshot of a hub repository, and `owner/name@commit`."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        usable = _usable_revision(HfApi(), repository, revision)
        snapshot = Path(snapshot_download(repository, revision=usable, allow_patterns=list(MODEL_FILES)))
        if indexed := [glob.escape(name) for name in read_weight_index(snapshot, repository)]:
            snapshot_download(repository, revision=snapshot.name, allow_patterns=indexed)
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise GeloraError(
            f"{note}The hub has no public model {repository} at revision {revision or 'main'}, or it needs a login "
            f"(`hf auth login`): {first_line(error)}. Check model.hub and model.revision, or give model.path=DIR."
        ) from error
    except (HTTPError, OSError) as error:
        cached = _cached_snapshot(repository, revision)
        if cached is None:
            raise _unreachable(repository, note, error) from error
        snapshot = cached
    return snapshot, f"{repository}@{snapshot.name}"


def _usable_revision(api: HfApi, repository: str, revision: str | None) -> str:
    """Return `revision` if it has safetensors; for the default one, else the converter's pull request on top of it."""
    info = api.model_info(repository, revision=revision, timeout=HUB_SECONDS)
    files = {file.rfilename for file in info.siblings or ()}
    if files & {WEIGHTS, WEIGHTS_INDEX}:
        return revision or "main"
    proposed = _conversions(api, repository) if revision is None else []
    for reference in proposed:
        commits = api.list_repo_commits(repository, revision=reference)
        if len(commits) > 1 and commits[1].commit_id == info.sha:
            return reference
    hint = f" Or take the older conversion {proposed[0]}: model.revision={proposed[0]}." if proposed else ""
    raise GeloraError(describe_missing_safetensors(f"{repository} at revision {revision or 'main'}", files) + hint)


def _conversions(api: HfApi, repository: str) -> list[str]:
    """Return the open pull requests (`refs/pr/N`) of the hub's safetensors converter, by author and title."""
    discussions = api.get_repo_discussions(repository, discussion_type="pull_request", discussion_status="open")
    return [
        f"refs/pr/{request.num}"
        for request in discussions
        if request.is_pull_request and request.status == "open"
        if request.author == CONVERSION_AUTHOR and request.title == CONVERSION_TITLE
    ]


def _cached_snapshot(repository: str, revision: str | None) -> Path | None:
    """Return the cached snapshot of `revision`: by default of `main`, or of the one pull request with the weights."""
    from huggingface_hub import constants, snapshot_download

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    requests = [f"refs/pr/{file.name}" for file in (folder / "refs/refs/pr").glob("*")]
    candidates = [revision] if revision else ["main", *(requests if len(requests) == 1 else [])]
    found: list[Path] = []
    for candidate in candidates:
        try:
            snapshot = snapshot_download(
                repository, revision=candidate, local_files_only=True, allow_patterns=list(MODEL_FILES)
            )
        except OSError:
            continue
        found.append(Path(snapshot))
    return next((snapshot for snapshot in found if has_weights(snapshot)), found[0] if found else None)


def _unreachable(repository: str, note: str, error: Exception) -> GeloraError:
    from huggingface_hub import constants

    return GeloraError(
        f"{note}{repository} can't be fetched from {constants.ENDPOINT} ({first_line(error)}), and no whole snapshot "
        f"of it is cached in {constants.HF_HUB_CACHE}. Give model.path=DIR, a directory with config.json, safetensors "
        f"and tokenizer, or model=minilm, which needs no hub after `{install_gelora('demo')}`."
    )

"""Find a model in a directory, in an installed package, or on the hub; no torch."""

from __future__ import annotations

import difflib
import glob
import hashlib
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import expand_home, file_sha256
from gelora_cli.core.hub_ids import is_hub_id
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
    missing_weights,
    present_files,
    read_weight_index,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

HUB_SECONDS = 5.0
"""Seconds to wait for the hub's answer about a revision."""

# The pull requests in which the hub's converter proposes safetensors for models that have only pickled weights.
CONVERSION_TITLE = "Adding `safetensors` variant of this model"
CONVERSION_AUTHOR = "SFconvertbot"


@dataclass(frozen=True)
class ResolvedModel:
    """A model directory.

    Attributes:
        source: how messages name the model: the path as given, `package NAME`, or `owner/name@commit`.
        directory: where it is.
        fingerprint: sha256 of the content of all files that the model is read from.
    """

    source: str
    directory: Path
    fingerprint: str

    @property
    def has_weights(self) -> bool:
        """Return whether all its weights are there; without them its memory can be forecast, and nothing be run."""
        return has_weights(self.directory) and not missing_weights(self.directory, self.source)


def resolve_model(
    *,
    hub: str | None,
    path: str | None,
    revision: str | None = None,
    package: str | None = None,
    sha256: str | None = None,
    needs_weights: bool = True,
    also: tuple[str, ...] = (),
) -> ResolvedModel:
    """Return where a model is: `path` if it is given, else the installed `package`, else `hub`.

    The fingerprint is the sha256 over the sorted (file name, sha256 of content) of `model_files`, so it doesn't depend
    on the location.

    Args:
        hub: a hub id.
        path: a directory or a hub id.
        revision: branch, tag or commit of the hub, by default `main`. The snapshot is pinned to the commit that it
            points to. Without network a cached snapshot is used.
        package: an installed package that holds the model in its folder `model/`.
        sha256: the sha256 that `model.safetensors` of `package` and `hub` must have; it is not asked of a `path`.
        needs_weights: whether a directory without weights is refused.
        also: names of files that are fetched from the hub beside those of any model. They are not in the fingerprint:
            see `with_files`.

    Raises:
        GeloraError: no such directory, the hub can't be reached, no safetensors, or another sha256.
    """
    directory, source = _locate(hub, path, revision, package, also)
    # Before any file is hashed, which takes seconds for large weights.
    check_directory(directory, source, needs_weights=needs_weights)
    digests = file_digests(directory, source)
    if sha256 and not path and digests.get(WEIGHTS) != sha256:
        raise GeloraError(
            f"{WEIGHTS} of {source} has sha256 {digests.get(WEIGHTS)}, but {sha256} is expected: the file is damaged "
            f"or another one. Install or fetch it again ({directory}), or name another model by model.path=DIR."
        )
    # The format of these lines is part of the fingerprint, which is stored in every run.
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    return ResolvedModel(source, directory, hashlib.sha256(lines.encode()).hexdigest())


def with_files(model: ResolvedModel, names: tuple[str, ...]) -> ResolvedModel:
    """Return a model whose fingerprint also covers those of the named files that its directory holds.

    A model with none of them keeps its fingerprint.
    """
    digests = [f"{name} {file_sha256(model.directory / name)}\n" for name in present_files(model.directory, names)]
    if not digests:
        return model
    text = "".join([f"{model.fingerprint}\n", *digests])
    return replace(model, fingerprint=hashlib.sha256(text.encode()).hexdigest())


def _locate(
    hub: str | None, path: str | None, revision: str | None, package: str | None, also: tuple[str, ...]
) -> tuple[Path, str]:
    """Return the directory, and the name by which messages call the model."""
    if path:
        # A local directory wins over a hub id of the same name.
        directory = Path(expand_home(path)).absolute()
        if directory.is_dir():
            return directory, path
        if not is_hub_id(path, one_word=True):
            raise GeloraError(_explain_missing_directory(path, directory))
        hint = _nearest_directory(directory)
        return _from_hub(path, revision, f"There is no directory {path} here, so it was read as a hub id.{hint} ", also)
    if package and (folder := _package_folder(package)):
        return folder, f"package {package}"
    if not hub:
        raise GeloraError("No model is named: model.path and model.hub are empty. Give model.path=DIR or model=minilm.")
    return _from_hub(hub, revision, "", also)


def _explain_missing_directory(path: str, directory: Path) -> str:
    if directory.exists():
        return f"model.path={path} is a file; the directory of a model is accepted: {directory.parent}."
    return (
        f"model.path={path}: no such directory.{_nearest_directory(directory)} "
        f"Accepted: a directory with config.json, {WEIGHTS} and the tokenizer's files, or a hub id."
    )


def _nearest_directory(missing: Path) -> str:
    """Return the question whether the directory with the nearest name beside a missing one is meant, or nothing."""
    parent = missing.parent
    siblings = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(missing.name, siblings, n=1)
    return f" Did you mean {parent / near[0]}?" if near else ""


def _package_folder(package: str) -> Path | None:
    """Return the folder `model/` of an installed package, which is not imported for that."""
    # Importing could run code of the package, and takes time.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _from_hub(repository: str, revision: str | None, note: str, also: tuple[str, ...]) -> tuple[Path, str]:
    """Return the snapshot of a hub repository, and `owner/name@commit`."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        usable = _usable_revision(HfApi(), repository, revision)
        snapshot = Path(snapshot_download(repository, revision=usable, allow_patterns=[*MODEL_FILES, *also]))
        # An index may name weights by names that no pattern of MODEL_FILES matches.
        if indexed := [glob.escape(name) for name in read_weight_index(snapshot, repository)]:
            # By the commit of the first call, so that both calls fetch the same revision if `main` moves in between.
            snapshot_download(repository, revision=snapshot.name, allow_patterns=indexed)
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise GeloraError(
            f"{note}The hub has no public model {repository} at revision {revision or 'main'}, or it needs a login "
            f"(`hf auth login`): {first_line(error)}. Check model.hub and model.revision, or give model.path=DIR."
        ) from error
    except (HTTPError, OSError) as error:  # no network, or an error of the server
        cached = _cached_snapshot(repository, revision)
        if cached is None:
            raise GeloraError(
                f"{note}{repository} can't be fetched from {constants.ENDPOINT} ({first_line(error)}), and no complete "
                f"snapshot of it is cached in {constants.HF_HUB_CACHE}. Give model.path=DIR, a directory with "
                "config.json, safetensors and tokenizer, or model=minilm, which needs no hub after "
                f"`{install_gelora('demo')}`."
            ) from error
        snapshot = cached
    return snapshot, f"{repository}@{snapshot.name}"


def _usable_revision(api: HfApi, repository: str, revision: str | None) -> str:
    """Return `revision` if it has safetensors.

    Without a revision that is `main`, or the converter's pull request if that was made from the commit of `main`.

    Raises:
        GeloraError: no such revision has safetensors.
    """
    info = api.model_info(repository, revision=revision, timeout=HUB_SECONDS)
    files = {file.rfilename for file in info.siblings or ()}
    if files & {WEIGHTS, WEIGHTS_INDEX}:
        return revision or "main"
    proposed = _conversions(api, repository) if revision is None else []
    for reference in proposed:
        commits = api.list_repo_commits(repository, revision=reference)
        # A pull request that was made from an older commit would load older weights.
        if len(commits) > 1 and commits[1].commit_id == info.sha:
            return reference
    hint = f" Or use the older conversion {proposed[0]}: model.revision={proposed[0]}." if proposed else ""
    raise GeloraError(describe_missing_safetensors(f"{repository} at revision {revision or 'main'}", files) + hint)


def _conversions(api: HfApi, repository: str) -> list[str]:
    """Return the open pull requests (`refs/pr/N`) of the hub's safetensors converter, by author and title."""
    discussions = api.get_repo_discussions(repository, discussion_type="pull_request", discussion_status="open")
    references = []
    for request in discussions:
        is_open = request.is_pull_request and request.status == "open"
        if is_open and request.author == CONVERSION_AUTHOR and request.title == CONVERSION_TITLE:
            references.append(f"refs/pr/{request.num}")
    return references


def _cached_snapshot(repository: str, revision: str | None) -> Path | None:
    """Return the cached snapshot of `revision`, or None.

    Without a revision that is `main`, or the only cached pull request. Of both the first with weights is returned.
    """
    from huggingface_hub import constants, snapshot_download

    # The hub's cache keeps a file for each reference that was resolved, such as refs/refs/pr/1.
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    requests = [f"refs/pr/{file.name}" for file in (folder / "refs/refs/pr").glob("*")]
    candidates = [revision] if revision else ["main", *(requests if len(requests) == 1 else [])]
    snapshots: list[Path] = []
    for candidate in candidates:
        try:
            snapshot = snapshot_download(
                repository, revision=candidate, local_files_only=True, allow_patterns=list(MODEL_FILES)
            )
        except OSError:
            continue
        snapshots.append(Path(snapshot))
    for directory in snapshots:
        if has_weights(directory):
            return directory
    return snapshots[0] if snapshots else None

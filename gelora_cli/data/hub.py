"""The hub's copy of a data set: files by name, pinned to a revision; the cached ones where there is no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote_path

HUB_SECONDS = 5.0


def fetch_dataset(repository: str, patterns: Sequence[str], key: str) -> Path:
    """The hub's snapshot of a data set with the files that match `patterns`; `key` is what the user named it by.

    Raises:
        GeloraError: the hub can't be reached and nothing is cached, or it has no such data set.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, RepositoryNotFoundError  # type: ignore[attr-defined]

    wanted, given = list(patterns), f"{key}={quote_path(repository)}"
    try:
        revision = HfApi().dataset_info(repository, timeout=HUB_SECONDS).sha
        return Path(snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=wanted))
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise GeloraError(f"{given}: the hub has no such data set; give another id or {key}=DIR.") from error
    except (HTTPError, OSError) as error:
        try:
            return Path(
                snapshot_download(repository, repo_type="dataset", local_files_only=True, allow_patterns=wanted)
            )
        except OSError:
            raise GeloraError(
                f"{given}: the hub is not reachable ({type(error).__name__}) and no copy is cached. Give a "
                f"local directory in the hub's layout, {key}=DIR with {wanted[0]}, or take task=demo."
            ) from error

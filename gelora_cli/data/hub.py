"""Fetch files of a data set from the hub, pinned to a revision; use cached files without network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote_path
from gelora_cli.data.reading import once_while_reading

HUB_SECONDS = 5.0
"""Seconds to wait for the hub's answer about the revision."""


@once_while_reading
def fetch_dataset(repository: str, patterns: Sequence[str], key: str) -> Path:
    """Return the directory of a data set's snapshot with the files that match `patterns`.

    Args:
        repository: the hub id, `owner/name`.
        patterns: file names with `*`.
        key: the key of the configuration that names the data set, for messages.

    Raises:
        GeloraError: the hub has no such data set, or it can't be reached and nothing is cached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, RepositoryNotFoundError  # type: ignore[attr-defined]

    wanted = list(patterns)
    setting = f"{key}={quote_path(repository)}"
    try:
        # The revision is asked for first: without it, a download would silently use an older copy from the cache.
        revision = HfApi().dataset_info(repository, timeout=HUB_SECONDS).sha
        return Path(snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=wanted))
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise GeloraError(
            f"{setting}: the hub has no data set of this name. Give another hub id, or a local directory: {key}=DIR"
        ) from error
    except (HTTPError, OSError) as error:
        try:
            cached = snapshot_download(repository, repo_type="dataset", local_files_only=True, allow_patterns=wanted)
        except OSError:
            raise GeloraError(
                f"{setting}: the hub can't be reached ({type(error).__name__}), and this data set is not in the local "
                f"cache. Give a directory that holds {wanted[0]}: {key}=DIR. Or use task=demo or task=plural, which "
                "need no network."
            ) from error
        return Path(cached)

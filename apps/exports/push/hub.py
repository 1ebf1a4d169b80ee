"""Pushes an export to a Hugging Face hub: a dataset repository that holds exactly the export's files, in one commit.

The client reads the token (HF_TOKEN) and the address (HF_ENDPOINT) from the environment.
"""

from __future__ import annotations

from apps.exports.errors import ExportRefusedError
from apps.exports.push.checked import Pushable


def push_to_hub(export: Pushable, *, repository: str, private: bool = False) -> str:
    """The address of the commit. Raises ExportRefusedError with the client's words."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise ExportRefusedError(
            "huggingface_hub is not installed: pip install huggingface-hub (the extra hub)"
        ) from error
    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=export.folder,
            commit_message=f"{export.name}, root {export.root}",
            delete_patterns="*",  # what an earlier export left there; a loader takes files by pattern
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise ExportRefusedError(f"The hub did not take it: {_first_line(error)}") from error
    return str(commit.commit_url)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]

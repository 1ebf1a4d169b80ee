"""Pushes an export to an S3-compatible store: its files below a prefix, each with its sha256, the manifest last.

The client reads key, secret, region and so on from the environment, as every AWS client does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from apps.exports.errors import ExportRefusedError
from apps.exports.push.checked import Pushable

DIGEST = "sha256"  # the objects' own metadata, by which a push that broke off is taken up


def push_to_s3(export: Pushable, *, bucket: str, prefix: str, endpoint: str = "") -> tuple[int, int]:
    """(objects written, objects that were there already). Raises ExportRefusedError with the client's words."""
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise ExportRefusedError("boto3 is not installed: pip install boto3 (the extra s3)") from error
    try:
        store = boto3.client("s3", endpoint_url=endpoint or None)
        _refuse_others(store, bucket, prefix, export)
        written = sum(_put(store, bucket, prefix + path.name, path) for path in export.files)
    except (Boto3Error, BotoCoreError, ClientError, OSError) as error:
        raise ExportRefusedError(f"The store did not take it: {str(error)[:300]}") from error
    return written, len(export.files) - written


def _refuse_others(store: Any, bucket: str, prefix: str, export: Pushable) -> None:
    """A loader takes files by pattern: whatever else lies there would be loaded as well."""
    ours = {prefix + path.name for path in export.files}
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", ()):
            if found["Key"] not in ours:
                raise ExportRefusedError(
                    f"{bucket}/{prefix} holds something else ({found['Key']}): choose another prefix."
                )


def _put(store: Any, bucket: str, key: str, path: Path) -> bool:
    """False where the object is there with the same content."""
    from botocore.exceptions import ClientError

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        if store.head_object(Bucket=bucket, Key=key)["Metadata"].get(DIGEST) == digest:
            return False
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    store.upload_file(str(path), bucket, key, ExtraArgs={"Metadata": {DIGEST: digest}, "ChecksumAlgorithm": "SHA256"})
    return True

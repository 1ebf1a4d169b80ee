"""Files beside those that the manifest names: the manifest itself, the certificate, their signatures."""

from __future__ import annotations

import hashlib

from apps.exports.folder import CERTIFICATE, CERTIFICATE_SIGNATURE, MANIFEST, SIGNATURE
from apps.exports.models import Snapshot
from apps.exports.selectors import files_of
from apps.exports.services import folder_of
from apps.exports.writers import FileEntry

WORDS = {
    MANIFEST: "holds the checksums of the files above",
    SIGNATURE: "the manifest’s signature",
    CERTIFICATE: "what a sample judged by people shows",
    CERTIFICATE_SIGNATURE: "the certificate’s signature",
}


def sidecars_of(snapshot: Snapshot) -> list[FileEntry]:
    """Those that are there, as they lie on the disk at this moment; a certificate comes after the export is done."""
    if not snapshot.manifest:
        return []
    folder, found = folder_of(snapshot), list[FileEntry]()
    for name in WORDS:
        try:
            data = (folder / name).read_bytes()
        except OSError:
            continue
        found.append({"path": name, "sha256": hashlib.sha256(data).hexdigest(), "records": 0, "bytes": len(data)})
    return found


def all_files_of(snapshot: Snapshot) -> list[FileEntry]:
    """Everything that can be fetched of a finished snapshot, with its checksum."""
    return [*files_of(snapshot), *sidecars_of(snapshot)]

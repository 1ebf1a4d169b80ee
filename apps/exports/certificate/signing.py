"""Writing certificates beside the records they speak of: by a worker, who has the key and the folder. No data file is touched."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from django.db import transaction

from apps.exports.errors import ExportRefusedError
from apps.exports.models_certificate import Certification, CertificationState
from apps.exports.proof.signing import SigningKey, signing_key
from apps.exports.services import folder_of
from reasonmed_verify.manifest import CERTIFICATE, CERTIFICATE_SIGNATURE, ManifestError, read_manifest

log = logging.getLogger(__name__)


def write_certificates() -> int:
    """Signs and writes all that wait; how many were. One that cannot be is told with its certification and tried again.

    Safe from any number of processes, and again after a kill: the files are the same but for the time of the signature.
    """
    written = 0
    for study_id in Certification.objects.filter(state=CertificationState.SIGNING).values_list("pk", flat=True):
        with transaction.atomic():
            rows = Certification.objects.select_for_update(skip_locked=True, of=("self",)).select_related(
                "snapshot__run"
            )
            study = rows.filter(pk=study_id, state=CertificationState.SIGNING).first()
            if study is not None:
                written += _write(study)
    return written


def _write(study: Certification) -> bool:
    try:
        folder, key = folder_of(study.snapshot), signing_key()
        _put(folder, _checked(study, folder, key), key)
    except (ExportRefusedError, OSError) as error:
        said = str(error)[: Certification._meta.get_field("error").max_length]
        if said != study.error:
            log.warning("%s cannot be written: %s", study, said)
            Certification.objects.filter(pk=study.pk).update(error=said)
        return False
    Certification.objects.filter(pk=study.pk).update(state=CertificationState.PUBLISHED, error="")
    return True


def _checked(study: Certification, folder: Path, key: SigningKey | None) -> bytes:
    """The document, once the folder is found to hold the records it names. Raises ExportRefusedError."""
    try:
        manifest = read_manifest(folder)
    except ManifestError as error:
        raise ExportRefusedError(f"The export's manifest {error}.") from error
    if study.document is None or not manifest.root == study.root == study.document["root"]:
        raise ExportRefusedError("The files there are of other records than those that were judged.")
    if key is None or key.id != manifest.signed_by:
        raise ExportRefusedError(
            f"The worker has not the key {manifest.signed_by or '(none)'} that signed this export; set REASONMED_SIGNING_KEY."
        )
    return (json.dumps(study.document, indent=2, ensure_ascii=False) + "\n").encode()


def _put(folder: Path, data: bytes, key: SigningKey | None) -> None:
    assert key is not None  # checked with the manifest
    _replace(folder / CERTIFICATE_SIGNATURE, key.sign(data, file=CERTIFICATE))
    _replace(folder / CERTIFICATE, data)


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    work = path.with_name(f".{path.name}.tmp")
    with work.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    work.rename(path)

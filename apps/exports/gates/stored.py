"""What the gates found in a run, as an inspection keeps it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from apps.exports.contamination.scan import Watch
from apps.exports.gates.report import Report, check_run
from apps.exports.gates.texts import GATES
from apps.exports.models_checks import Inspection, InspectionPair
from apps.reasoning.models import RunQuestion

SAMPLES = 12  # a gate


def look_through(inspection: Inspection, watch: Watch) -> tuple[dict[str, Any], list[InspectionPair]]:
    """Result, not saved; the gates have no pairs. Raises LedgerBrokenError."""
    assert inspection.run is not None
    total = RunQuestion.objects.filter(run=inspection.run).count()
    return result_of(check_run(inspection.run, samples=SAMPLES, watch=lambda done: watch.at(done, total))), []


def result_of(report: Report) -> dict[str, Any]:
    return {
        "records": report.records,
        "flagged": report.flagged,
        "gates": {
            gate: {"records": report.counts[gate], "samples": [asdict(sample) for sample in report.samples[gate]]}
            for gate in GATES
        },
    }

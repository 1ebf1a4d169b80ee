"""`export_dataset RUN --variant … --format … --out DIR`: writes an export folder from the ledger."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from apps.exports.build import build_export
from apps.exports.config import (
    DUPLICATE_WORDS,
    LABEL_WORDS,
    SOURCE_WORDS,
    TIER_NAMES,
    ExportConfig,
    Policy,
    read_config,
)
from apps.exports.errors import ExportRefusedError, LedgerBrokenError
from apps.exports.folder import check_target
from apps.exports.forms.names import FORMS
from apps.exports.records import VARIANTS, parse_variants
from apps.exports.writers import FORMATS, Format
from apps.questions.access import default_project
from apps.reasoning.models import Run, RunQuestion

REFUSED = 2
CHECK_FAILED = 1


class Command(BaseCommand):
    help = "Write a run's records, manifest and dataset card into a folder."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN", help="name of the run")
        parser.add_argument("--variant", choices=(*VARIANTS, "all"), default="all", help="which set (default: all)")
        parser.add_argument("--format", choices=FORMATS, default="jsonl", help="file format (default: jsonl)")
        parser.add_argument(
            "--out", metavar="DIR", required=True, type=Path, help="an empty or new folder, or an earlier export"
        )
        parser.add_argument("--json", action="store_true", help="print the manifest as one JSON object")
        parser.add_argument(
            "--form", action="append", default=[], choices=FORMS, help="further files beside the sets; may be repeated"
        )
        parser.add_argument("--system-prompt", default="", metavar="TEXT", help="first turn of the form messages")
        for key, words in (("labels", LABEL_WORDS), ("sources", SOURCE_WORDS), ("duplicates", DUPLICATE_WORDS)):
            first = next(iter(words))
            parser.add_argument(f"--{key}", choices=tuple(words), default=first, help=f"{key} (default: {first})")
        parser.add_argument("--benchmark", action="append", default=[], metavar="SLUG", help="may be repeated")
        parser.add_argument("--tier", action="append", default=[], choices=TIER_NAMES, help="may be repeated")
        parser.add_argument(
            "--gate",
            action="append",
            default=[],
            metavar="GATE=SWITCH",
            help="a quality gate: off, warn (default) or exclude",
        )
        for name, what in (
            ("contamination", "in an evaluation set"),
            ("near-duplicates", "nearly the same as an earlier one"),
        ):
            said = f"questions {what} (default: keep, not looked for)"
            parser.add_argument(f"--{name}", choices=get_args(Policy), default="keep", help=said)
        parser.add_argument("--similarity", type=float, default=0.8, help="of questions nearly the same (default 0.8)")

    def handle(self, *args: Any, run: str, variant: str, format: Format, out: Path, json: bool, **options: Any) -> None:
        try:
            manifest = self.build(_run_named(run), variant, format, out, _config(options))
        except ExportRefusedError as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        except LedgerBrokenError as error:
            raise CommandError(f"{error}. Nothing was written; run check_ledger.", returncode=CHECK_FAILED) from error
        except OSError as error:
            raise CommandError(
                f"{out}: could not be written: {error.strerror}. Nothing was left there.", returncode=REFUSED
            ) from error
        self.report(manifest, out, as_json=json)

    def build(self, run: Run, variant: str, format: Format, out: Path, config: ExportConfig) -> dict[str, Any]:
        check_target(out.absolute())
        total = RunQuestion.objects.filter(run=run).count()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
            task = bar.add_task("questions", total=total)
            return build_export(
                run=run,
                variants=parse_variants([variant]),
                format=format,
                out_dir=out,
                config=config,
                progress=lambda done: bar.update(task, completed=done),
            )

    def report(self, manifest: dict[str, Any], out: Path, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(manifest, ensure_ascii=False))
            return
        counts = manifest["questions"]
        self.stdout.write(
            f"{out}: {manifest['records']:,} records of {counts['exported']:,} questions, a set "
            f"({counts['excluded']:,} excluded, {counts['waiting']:,} waiting, {counts['total']:,} in the run)"
        )
        for warning in manifest["warnings"]:
            self.stderr.write(f"note: {warning}")


def _config(options: Mapping[str, Any]) -> ExportConfig:
    """Raises ExportRefusedError."""
    gates = dict(one.partition("=")[::2] for one in options["gate"])
    contamination = {
        "policy": options["contamination"],
        "within": options["near_duplicates"],
        "threshold": options["similarity"],
    }
    chosen = {key: options[key] for key in ("labels", "sources", "duplicates")}
    chosen |= {"benchmarks": options["benchmark"], "tiers": options["tier"]}
    further = {"forms": options["form"], "system_prompt": options["system_prompt"]}
    return read_config({"gates": gates, "contamination": contamination, **chosen, **further})


def _run_named(name: str) -> Run:
    found = Run.objects.select_related("paths_from").filter(project=default_project(), name=name).first()
    if found is None:
        raise ExportRefusedError(f"No run is named {name!r}.")
    return found

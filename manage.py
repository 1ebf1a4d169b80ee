#!/usr/bin/env python
"""One entry point: every job of the workbench is a management command."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reasonmed_site.settings")
    from reasonmed_site import launch

    launch.prepare(sys.argv)
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

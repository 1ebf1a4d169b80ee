"""`python -m reasonmed_verify`, for those who did not install the command."""

import sys

from reasonmed_verify.command import main

sys.exit(main())

"""`python -m auditline.workers.supervisor`: the `auditline` command."""

import sys

from auditline.workers.supervisor.cli import main

sys.exit(main())

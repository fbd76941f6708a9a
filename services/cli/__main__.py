"""`python -m services.cli`: how `up` starts services, in whatever environment it runs itself."""

import sys

from services.cli.entry import main

sys.exit(main())

"""`python -m tuneway.service`: serve without the command line tool."""

import sys

from tuneway.service.main import main

sys.exit(main())

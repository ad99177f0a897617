"""`python -m tuneway_service`: serve without the command line tool."""

import sys

from tuneway_service.main import main

sys.exit(main())

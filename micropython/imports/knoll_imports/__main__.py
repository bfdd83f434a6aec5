"""`python3 -m knoll_imports`."""

import sys

from .cli import main

sys.exit(main())

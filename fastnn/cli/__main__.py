"""``python -m fastnn.cli``."""

import sys

from . import main

sys.exit(main())

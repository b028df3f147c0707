"""`python -m callgate` is the command `callgate`."""

import sys

from callgate.cli import main

sys.exit(main())

"""``python -m empiar_mirror`` is the command ``empiar-mirror``."""

from __future__ import annotations

import sys

from empiar_mirror.cli import main

if __name__ == "__main__":
    sys.exit(main())

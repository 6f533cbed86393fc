"""``python -m empiar_mirror.rehearsal``."""

from empiar_mirror.rehearsal.server import main

raise SystemExit(main())

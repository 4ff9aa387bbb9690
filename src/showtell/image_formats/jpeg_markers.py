"""The markers that begin the segments of a JPEG (ITU-T T.81, table B.1), without their 0xFF."""

from __future__ import annotations

END, START_OF_SCAN, COMMENT = 0xD9, 0xDA, 0xFE
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # their headers hold the size

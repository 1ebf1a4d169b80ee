"""Ids of calls: random, and in the order of their time, so that their index grows at its end."""

from __future__ import annotations

import os
import random
import time
import uuid

_dice = random.Random()
os.register_at_fork(after_in_child=_dice.seed)


def new_id() -> uuid.UUID:
    """A UUID of version 7. One of version 4 asks the system for each, which lets go of Python's lock."""
    milliseconds = time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF
    dice = _dice.getrandbits(74)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | dice >> 62 << 64 | 2 << 62 | dice & 0x3FFF_FFFF_FFFF_FFFF)

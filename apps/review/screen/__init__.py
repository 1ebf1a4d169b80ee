"""The screen on which people judge: home, one item at a time, what the judge said, the end of a sitting."""

"""Quality gates: what looks wrong with a record's texts, found by rule."""

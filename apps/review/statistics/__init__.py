"""Agreement and calibration: pure functions on numbers, free of Django. Each figure says its n, its interval and its sense.

`agreement` (people among themselves), `judge` (the judge against people), `tiers` (what its errors do to tiers),
`acceptance` (sample sizes), `drift` (over time); `intervals`, `linear`, `bootstrap` are what they stand on.
"""

"""The rules of a run, free of Django: labels, tiers, ranking, and the assessment of one question from its facts."""

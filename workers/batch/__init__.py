"""The Batch API as a lane: requests leave in files, and their replies come back within a day.

A batch (BatchJob) holds its tasks by a lease of its own, so that neither pause nor restart sends them twice.
"""

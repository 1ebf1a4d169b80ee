"""Queues of paths to judge: sampled, claimed, judged, settled."""

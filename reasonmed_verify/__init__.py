"""Checks an export of the ReasonMed Workbench without the workbench: signature, files, counts, Merkle root, single records."""

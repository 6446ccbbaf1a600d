"""Evidence about the log for people who trust nobody: checkpoints, rollback, proofs, exports.

`published` knows what was vouched for and where it lies, `guard` compares the log with it, `notary` signs and
publishes. Nothing here records anything.
"""

"""Evidence about the log for people who trust nobody: checkpoints, rollback, proofs, exports.

`published` knows what was vouched for and where it lies, `guard` compares the log with it, `checkpoints` signs and
publishes, `verification` compares everything, `proving` proves one event. `tiles` and `rows` export (by `layout`,
`formats` and `folders`), `offline` verifies an export without a workspace. Nothing here records anything.
"""

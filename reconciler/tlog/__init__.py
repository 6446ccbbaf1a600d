"""A tamper-evident log as such: Merkle tree, signed notes, checkpoints, proofs, by C2SP and RFC 6962. Pure.

Nothing here knows what the events are, or that there is a Pai.
"""

"""The log: events as exact bytes, a Merkle tree over them, and what is derived from them, stored durably.

`store` is the contract, `sqlite` and `memory` fulfil it and `open` chooses, `replay` turns stored events back into a
state, `check` looks for anything that does not fit together. Nothing here decides what happens: only
`reconciler.recorder` writes.
"""

"""The running program: it wires the parts of a workspace together, and is the only room that knows them all."""

"""What must hold in a log, looked for by recomputing it: the stored bytes, and all that is derived from them."""

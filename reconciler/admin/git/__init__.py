"""git over HTTP: pushes and fetches through git's own backend."""

"""Questions to the log: read only, answered from the stored events."""

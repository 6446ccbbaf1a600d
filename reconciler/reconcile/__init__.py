"""Git becomes state: one level-based pass from the branch's tip to events on the log."""

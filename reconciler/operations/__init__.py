"""What people may ask of a workspace, by whatever door they come, with or without a daemon."""

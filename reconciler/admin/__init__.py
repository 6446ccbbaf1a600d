"""The people's door: the HTTP API, git over HTTP, webhooks and metrics, on the admin listener."""

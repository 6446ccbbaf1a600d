"""The daemon's control socket: the server, and the client that commands and the hook use."""

"""The log in a Postgres schema, for as many nodes as share it. Needs the extra `postgres`."""

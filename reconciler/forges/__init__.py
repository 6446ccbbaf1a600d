"""Code hosts as Pai needs them: one comment on a pull request, and the status of a commit.

`api` speaks HTTP with patience and without redirects, `hosts` knows the three kinds of API, `publishing` keeps one
comment up to date, `environment` reads what CI systems say about themselves. Tokens come in as arguments and go into
one header, nowhere else.
"""

"""The log in one SQLite file. Nobody but `reconciler.log` knows that it is one."""

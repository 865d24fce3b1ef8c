"""Instructions per event, counted under valgrind and kept in a table that a test compares with.

Seconds differ from run to run and from machine to machine; instructions hardly do. `python -m
bench.instructions` counts them, `--update` writes the table, `make instructions` does that with
everything built first.
"""

"""The command line: one module per command.

Such a module has DESCRIPTION and EXAMPLES for its help, add_arguments(parser), and run(connect, say, options), which
returns the exit code. `connect(purpose)` opens a connection and `say` writes to stderr; see `main`.
"""

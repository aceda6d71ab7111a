"""The command line: one short file per command, each importing what is heavy only when it runs."""

"""The commands of `egowm-scs`, one per file: `configure(parser)` and `run(arguments) -> status`."""

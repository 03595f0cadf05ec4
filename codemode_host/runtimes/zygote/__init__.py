"""The zygote's process: one engine, ready to be forked."""

"""What runs in the host process: starting the zygote, the runtimes, reading what they wrote."""

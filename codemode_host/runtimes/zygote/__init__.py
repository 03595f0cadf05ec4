"""What runs in the zygote: one engine, ready to be forked."""

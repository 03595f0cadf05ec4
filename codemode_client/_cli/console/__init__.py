"""What the commands of `codemode` are made of."""

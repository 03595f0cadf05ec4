"""Python functions and ready-made tools for scripts."""

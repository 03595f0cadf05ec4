"""Python functions and ready-made tools, and how scripts reach them."""

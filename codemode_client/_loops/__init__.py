"""What differs between event loops, behind one interface.

This layer imports nothing of the client. `slots` has what tasks wait in, `interface` what a loop does for the client,
`on_asyncio` and `on_trio` how.
"""

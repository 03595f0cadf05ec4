"""One interface to asyncio and trio. This layer imports nothing else of the client."""

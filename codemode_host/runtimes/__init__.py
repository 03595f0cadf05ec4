"""JavaScript runtimes: the engine, the process it is forked from, and the processes that serve one script each."""

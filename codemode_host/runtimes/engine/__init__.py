"""SpiderMonkey in this process: initialised in the zygote, used in the cells forked from it."""

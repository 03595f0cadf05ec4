"""SpiderMonkey, initialised in the zygote and used in the cells forked from it."""

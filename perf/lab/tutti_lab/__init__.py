"""A cluster of network namespaces with slow, long and lossy links, and the ranks that run in it."""

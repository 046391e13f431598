"""A record of Tutti's speed: what perf/record is made of."""

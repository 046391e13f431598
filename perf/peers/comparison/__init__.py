"""Tutti beside its peers: what perf/peers/run is made of."""

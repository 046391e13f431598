"""Tutti's transports beside the fabrics' own tools: what perf/fabrics/run is made of."""

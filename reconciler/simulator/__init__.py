"""A simulated provider on loopback that speaks as the four real ones do: for the tour, for tests and for benchmarks.

It knows nothing of Pai, and nothing of Pai but the tour imports it.
"""

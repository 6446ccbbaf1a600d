"""The agents' door: requests by binding name in, the provider's answer out, every token reserved and settled.

Surfaces speak to clients, providers to upstreams; between them admission decides what may leave and metering counts
what came back. No secret, key, prompt or completion leaves this room but on the wire.
"""

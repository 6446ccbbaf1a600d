"""What upstreams speak: one module a provider."""

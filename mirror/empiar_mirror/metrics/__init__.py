"""How a running mirror is seen: what Prometheus reads, and whether it is alive and ready."""

"""What may be sent to a model server now: shared rates, concurrency, circuit breakers, the choice of a replica."""

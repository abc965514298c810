"""Everything between a run and MLflow: the store, the tracking server, the outbox, resuming, and the environment."""

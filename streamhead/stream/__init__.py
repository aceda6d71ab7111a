"""The only place that owns time, queues and state: noise, engine, session, clock and pipeline."""

"""Who is told what happens: counters, logs, spans."""

//! Benchmarks only: see `benches/`. Measured figures, each with its command, are under `records/`.

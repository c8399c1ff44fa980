//! Nothing of its own: the journeys of whole federations stand in `tests/`, what crosses both binaries is timed in `benches/`.

//! Helpers of the journeys: finding the binaries, a scratch folder, a federation on loopback.

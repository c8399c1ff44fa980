//! A site's data: what its files are, how a case is made ready for the model, and the cache on disk.

pub mod disk;

//! What happens while a federation runs, for whoever shows it.

pub use shared::happening::*;

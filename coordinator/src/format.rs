//! Amounts for people.

/// `3.1 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        c if c >= 1e9 => format!("{:.1} GB", c / 1e9),
        c if c >= 1e6 => format!("{:.1} MB", c / 1e6),
        c => format!("{:.0} kB", c / 1e3),
    }
}

/// `4 min 12 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, minutes, rest) => format!("{minutes} min {rest} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_rounded_for_reading() {
        assert_eq!(
            (duration(4.26), duration(252.0), duration(7300.0)),
            ("4.3 s".into(), "4 min 12 s".into(), "2 h 1 min".into())
        );
        assert_eq!(
            (bytes(2_000), bytes(3_100_000)),
            ("2 kB".into(), "3.1 MB".into())
        );
    }
}

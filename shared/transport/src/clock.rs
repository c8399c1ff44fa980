//! TLS errors about time, with dates that a person can compare with a clock.

use std::time::{Duration, SystemTime};

/// The words before a number of seconds since 1970.
const BEFORE: [&str; 3] = [
    "verification time ",
    "not valid after ",
    "not valid before ",
];

/// The reason with dates in place of seconds since 1970, and a question about the clock. A reason
/// that is not about time stays as it is.
#[must_use]
pub fn in_words(reason: &str) -> String {
    let mut words = reason.replace(" (UNIX)", " by this machine's clock");
    if words == reason {
        return words;
    }
    for before in BEFORE {
        let Some(start) = words.find(before).map(|at| at + before.len()) else {
            continue;
        };
        let digits = words[start..]
            .chars()
            .take_while(char::is_ascii_digit)
            .count();
        if let Ok(seconds) = words[start..start + digits].parse::<u32>() {
            let date = httpdate::fmt_http_date(
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()),
            );
            words.replace_range(start..start + digits, &date);
        }
    }
    words + ": is this machine's clock right?"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        let words = in_words(
            "invalid peer certificate: certificate not valid yet: verification time 1000000000 \
             (UNIX), but certificate is not valid before 1700000000 (700000000 seconds in future)",
        );
        assert_eq!(
            words,
            "invalid peer certificate: certificate not valid yet: verification time Sun, 09 Sep \
             2001 01:46:40 GMT by this machine's clock, but certificate is not valid before Tue, \
             14 Nov 2023 22:13:20 GMT (700000000 seconds in future): is this machine's clock \
             right?"
        );
    }

    #[test]
    fn a_reason_that_is_not_about_time_stays_as_it_is() {
        let reason = "invalid peer certificate: UnknownIssuer";
        assert_eq!(in_words(reason), reason);
    }
}

//! How often one address may ask for certificates.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Requests from one address in a [`WINDOW`].
const MOST_REQUESTS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered. While so many have asked within a window, no others may.
const MOST_ADDRESSES: usize = 1024;

/// The requests of each address in its present window.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<IpAddr, Count>);

#[derive(Debug)]
struct Count {
    since: Instant,
    requests: u32,
}

impl Rates {
    /// Counts a request, and says whether it may be answered.
    pub(super) fn allow(&mut self, from: IpAddr, now: Instant) -> bool {
        let is_over = |since: Instant| now.duration_since(since) >= WINDOW;
        self.0.retain(|_, count| !is_over(count.since));
        let from = network(from);
        if self.0.len() >= MOST_ADDRESSES && !self.0.contains_key(&from) {
            return false;
        }
        let new = Count {
            since: now,
            requests: 0,
        };
        let count = self.0.entry(from).or_insert(new);
        count.requests = count.requests.saturating_add(1);
        count.requests <= MOST_REQUESTS
    }
}

/// An address as it is counted: of IPv6 the half that a host cannot choose.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [first, second, third, fourth, ..] = address.segments();
            Ipv6Addr::new(first, second, third, fourth, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_ask_ten_times_a_minute_and_others_are_not_kept_from_it() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        for _ in 0..MOST_REQUESTS {
            assert!(rates.allow(one, start));
        }
        assert!(!rates.allow(one, start));
        assert!(!rates.allow("::ffff:192.0.2.1".parse().unwrap(), start));
        assert!(rates.allow(other, start));
        assert!(!rates.allow(one, start + WINDOW - Duration::from_millis(1)));
        assert!(rates.allow(one, start + WINDOW));
    }

    #[test]
    fn a_host_cannot_ask_from_all_addresses_of_its_own_network() {
        let mut rates = Rates::default();
        let now = Instant::now();
        let mut allowed = 0;
        for host in 0..100u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host);
            allowed += u32::from(rates.allow(address.into(), now));
        }
        assert_eq!(allowed, MOST_REQUESTS);
        assert!(rates.allow(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0).into(), now));
    }

    #[test]
    fn addresses_cost_no_more_than_so_much_memory() {
        let mut rates = Rates::default();
        let now = Instant::now();
        for number in 0..5000u32 {
            let address = std::net::Ipv4Addr::from(number);
            let expected = (number as usize) < MOST_ADDRESSES;
            assert_eq!(rates.allow(address.into(), now), expected, "{number}");
        }
        assert_eq!(rates.0.len(), MOST_ADDRESSES);
    }
}

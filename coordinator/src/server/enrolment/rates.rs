//! How often one address, or one site, may ask for certificates.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Requests of one asker in a [`WINDOW`].
const MOST_REQUESTS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Askers that are remembered. One more, and the oldest is forgotten: who has so many addresses is
/// not held up by this, and must not hold up others.
const MOST_ASKERS: usize = 1024;
/// Requests of one organisation, which may have 65,536 networks of IPv6, in a [`WINDOW`].
const MOST_OF_ORGANISATION: u32 = 50;

/// The requests of each asker in its present window.
#[derive(Debug)]
pub(super) struct Rates<Asker> {
    most: u32,
    counts: BTreeMap<Asker, Count>,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    requests: u32,
}

impl<Asker: Ord + Clone> Default for Rates<Asker> {
    fn default() -> Self {
        Self::new(MOST_REQUESTS)
    }
}

impl<Asker: Ord + Clone> Rates<Asker> {
    fn new(most: u32) -> Self {
        Self {
            most,
            counts: BTreeMap::new(),
        }
    }

    /// Counts a request, and says whether it may be answered.
    pub(super) fn allow(&mut self, asker: Asker, now: Instant) -> bool {
        let is_over = |since: Instant| now.duration_since(since) >= WINDOW;
        self.counts.retain(|_, count| !is_over(count.since));
        if self.counts.len() >= MOST_ASKERS && !self.counts.contains_key(&asker) {
            self.forget_oldest();
        }
        let new = Count {
            since: now,
            requests: 0,
        };
        let count = self.counts.entry(asker).or_insert(new);
        count.requests = count.requests.saturating_add(1);
        count.requests <= self.most
    }

    fn forget_oldest(&mut self) {
        let oldest = self.counts.iter().min_by_key(|(_, count)| count.since);
        if let Some(asker) = oldest.map(|(asker, _)| asker.clone()) {
            self.counts.remove(&asker);
        }
    }
}

/// The requests of each address.
#[derive(Debug)]
pub(super) struct AddressRates {
    networks: Rates<IpAddr>,
    organisations: Rates<IpAddr>,
}

impl Default for AddressRates {
    fn default() -> Self {
        Self {
            networks: Rates::default(),
            organisations: Rates::new(MOST_OF_ORGANISATION),
        }
    }
}

impl AddressRates {
    /// Counts a request, and says whether it may be answered.
    pub(super) fn allow(&mut self, from: IpAddr, now: Instant) -> bool {
        match from.to_canonical() {
            // A host can choose the last half of its address.
            IpAddr::V6(address) => {
                let [first, second, third, fourth, ..] = address.segments();
                let organisation = Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0);
                let network = Ipv6Addr::new(first, second, third, fourth, 0, 0, 0, 0);
                self.organisations.allow(organisation.into(), now)
                    && self.networks.allow(network.into(), now)
            }
            address => self.networks.allow(address, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_ask_ten_times_a_minute_and_others_are_not_kept_from_it() {
        let mut rates = AddressRates::default();
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
        let mut rates = AddressRates::default();
        let now = Instant::now();
        let mut allowed = 0;
        for host in 0..100u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host);
            allowed += u32::from(rates.allow(address.into(), now));
        }
        assert_eq!(allowed, MOST_REQUESTS);
    }

    #[test]
    fn an_organisation_with_all_its_networks_neither_asks_on_nor_shuts_others_out() {
        let mut rates = AddressRates::default();
        let now = Instant::now();
        let mut allowed = 0;
        for network in 0..5000u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, 1);
            allowed += u32::from(rates.allow(address.into(), now));
        }
        assert_eq!(allowed, MOST_OF_ORGANISATION);
        assert!(rates.allow(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).into(), now));
        assert!(rates.allow("192.0.2.1".parse().unwrap(), now));
    }

    #[test]
    fn addresses_cost_no_more_than_so_much_memory_and_shut_no_one_out() {
        let mut rates = AddressRates::default();
        let start = Instant::now();
        for number in 0..5000u32 {
            let address = std::net::Ipv4Addr::from(number);
            let now = start + Duration::from_millis(number.into());
            assert!(rates.allow(address.into(), now), "{number}");
        }
        assert_eq!(rates.networks.counts.len(), MOST_ASKERS);
    }
}

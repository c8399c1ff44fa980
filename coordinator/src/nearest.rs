//! Mistyped names of sites.

use protocol::identity::SiteName;

/// The site that was most likely meant; `None` where no name is close, or two are equally close.
#[must_use]
pub(crate) fn nearest<'a>(typed: &str, sites: &'a [SiteName]) -> Option<&'a SiteName> {
    let typed = typed.to_lowercase();
    let most = (typed.chars().count() / 2).clamp(1, 3);
    let mut close: Vec<(usize, &SiteName)> = Vec::new();
    for site in sites {
        let changes = changes(&typed, &site.as_str().to_lowercase());
        if changes <= most {
            close.push((changes, site));
        }
    }
    close.sort_unstable();
    match close[..] {
        [(first, _), (second, _), ..] if first == second => None,
        [(_, site), ..] => Some(site),
        [] => None,
    }
}

/// How many letters must be inserted, removed or changed (Levenshtein distance).
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.chars().enumerate() {
        let mut here = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let changed = above[column] + usize::from(letter != *other);
            here.push(changed.min(above[column + 1] + 1).min(here[column] + 1));
        }
        above = here;
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_the_one_that_was_meant() {
        let names = ["north", "south", "harbour", "site-1", "site-2"];
        let sites = names.map(|name| name.parse().unwrap());
        let meant = |typed: &str| nearest(typed, &sites).map(SiteName::as_str);
        for typed in ["nrth", "North", "nroth", "north "] {
            assert_eq!(meant(typed), Some("north"), "{typed}");
        }
        assert_eq!(meant("harbor"), Some("harbour"));
        for typed in ["mallory", "", "x", "site-3"] {
            assert_eq!(meant(typed), None, "{typed}");
        }
    }
}

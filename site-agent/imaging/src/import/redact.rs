//! Takes what identifies patients out of texts that people typed, and out of paths.

use super::scan::Scan;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What replaces a word that could identify a patient.
const HIDDEN: &str = "***";
/// Shorter parts of names and numbers are only hidden where nothing is next to them.
const LONG: usize = 5;
/// Parts of names with fewer letters are not hidden: "De", "II".
const SHORT: usize = 3;

/// The words that identify the patients of an export.
pub(super) struct Redactor {
    words: BTreeSet<String>,
    /// Whether a word identifies a person, for the words that were asked for: the same few are in
    /// most descriptions.
    known: RefCell<BTreeMap<String, bool>>,
}

impl Redactor {
    pub(super) fn of(scan: &Scan) -> Self {
        let mut words = BTreeSet::new();
        for patient in &scan.patients {
            let names = patient.names.iter().chain(&patient.birth_dates);
            for text in names.chain([&patient.id]) {
                for word in text.split(|letter: char| !letter.is_alphanumeric()) {
                    if word.chars().count() >= SHORT {
                        words.insert(word.to_lowercase());
                    }
                }
            }
            // A short number as a whole, such as "17".
            if patient.id.len() > 1 {
                words.insert(patient.id.to_lowercase());
            }
            for study in &patient.studies {
                if study.date.len() == 8 {
                    words.insert(study.date.clone());
                }
            }
        }
        Self {
            words,
            known: RefCell::default(),
        }
    }

    /// The text with every such word, and every date, hidden.
    pub(super) fn text(&self, text: &str) -> String {
        let mut hidden = String::with_capacity(text.len());
        let mut word = String::new();
        for letter in text.chars() {
            if letter.is_alphanumeric() {
                word.push(letter);
                continue;
            }
            hidden += &self.word(&word);
            word.clear();
            hidden.push(letter);
        }
        hidden += &self.word(&word);
        dotted_dates(&hidden)
    }

    fn word(&self, word: &str) -> String {
        let mut known = self.known.borrow_mut();
        let identifies = match known.get(word) {
            Some(identifies) => *identifies,
            None => {
                let identifies = self.identifies(word);
                known.insert(word.to_owned(), identifies);
                identifies
            }
        };
        if identifies {
            HIDDEN.to_owned()
        } else {
            word.to_owned()
        }
    }

    fn identifies(&self, word: &str) -> bool {
        if word.is_empty() {
            return false;
        }
        let lower = word.to_lowercase();
        let digits = lower.bytes().all(|byte| byte.is_ascii_digit());
        let is_date = digits && lower.len() == 8 && (is_year(&lower[..4]) || is_year(&lower[4..]));
        let mut long = self
            .words
            .iter()
            .filter(|known| known.chars().count() >= LONG);
        is_date || self.words.contains(&lower) || long.any(|known| lower.contains(known.as_str()))
    }

    /// A path below `root`, hidden part by part.
    pub(super) fn path(&self, root: &Path, path: &Path) -> String {
        let below = path.strip_prefix(root).unwrap_or(path);
        let parts: Vec<String> = below
            .iter()
            .map(|part| self.text(&part.to_string_lossy()))
            .collect();
        parts.join("/")
    }
}

fn is_year(text: &str) -> bool {
    text.starts_with("19") || text.starts_with("20")
}

/// Hides dates with separators, such as 2026-01-02 and 02.01.2026.
fn dotted_dates(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut hidden = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let free = at == 0 || !letters[at - 1].is_ascii_digit();
        if free && let Some(length) = date_at(&letters[at..]) {
            hidden += HIDDEN;
            at += length;
        } else {
            hidden.push(letters[at]);
            at += 1;
        }
    }
    hidden
}

/// How long the date is that the letters begin with.
fn date_at(letters: &[char]) -> Option<usize> {
    for digits in [[4, 2, 2], [2, 2, 4]] {
        let mut at = 0;
        let mut fits = true;
        for (part, count) in digits.into_iter().enumerate() {
            if part > 0 {
                fits &= matches!(letters.get(at), Some('-' | '.' | '_' | '/'));
                at += 1;
            }
            let end = at + count;
            fits &= letters
                .get(at..end)
                .is_some_and(|run| run.iter().all(char::is_ascii_digit));
            at = end;
        }
        let longer = letters.get(at).is_some_and(char::is_ascii_digit);
        if fits && !longer {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::scan::Patient;

    fn redactor() -> Redactor {
        let scan = Scan {
            patients: vec![Patient {
                id: "MRN-448812".into(),
                has_id: true,
                names: BTreeSet::from(["Canary^Li Ann".into()]),
                birth_dates: BTreeSet::from(["19500101".into()]),
                studies: Vec::new(),
            }],
            ..Scan::default()
        };
        Redactor::of(&scan)
    }

    #[test]
    fn names_numbers_and_dates_are_hidden_and_words_of_the_field_are_not() {
        for (text, shown) in [
            ("AX T1 CANARY post", "AX T1 *** post"),
            ("canaryli_t1", "***_t1"),
            ("Ann/448812/x.dcm", "***/***/x.dcm"),
            ("t1_20260102", "t1_***"),
            ("t1 02.01.2026 gd", "t1 *** gd"),
            ("visit-2026-01-02", "visit-***"),
            ("01011950", "***"),
            ("t1_mprage_sag_1.0", "t1_mprage_sag_1.0"),
            ("banner 12345678", "banner 12345678"),
            ("", ""),
        ] {
            assert_eq!(redactor().text(text), shown);
        }
        let shown = redactor().path(Path::new("/export"), Path::new("/export/CANARY^LI/IM0001"));
        assert_eq!(shown, "***^LI/IM0001");
    }
}

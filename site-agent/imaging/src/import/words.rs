//! Words in descriptions that people typed: upper case and separators do not matter.

/// A text, or a word to look for, without upper case; separators become single spaces.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_alphanumeric() || letter == '+' || letter == '*' {
            plain.push(letter);
        } else if !plain.ends_with(' ') {
            plain.push(' ');
        }
    }
    plain.trim().to_owned()
}

/// Where `word` is in `text`, in bytes; both are [`plain`]. A star at the word's start or end allows
/// letters and digits there.
pub(super) fn find(text: &str, word: &str) -> Option<std::ops::Range<usize>> {
    let open_start = word.starts_with('*');
    let open_end = word.len() > 1 && word.ends_with('*');
    let core = word.trim_matches('*').trim();
    if core.is_empty() {
        return None;
    }
    let starts_in_word = core.chars().next().is_some_and(char::is_alphanumeric);
    let ends_in_word = core.chars().next_back().is_some_and(char::is_alphanumeric);
    for (start, _) in text.match_indices(core) {
        let end = start + core.len();
        let before = text[..start].chars().next_back();
        let after = text[end..].chars().next();
        let free_before =
            open_start || !starts_in_word || !before.is_some_and(char::is_alphanumeric);
        let free_after = open_end || !ends_in_word || !after.is_some_and(char::is_alphanumeric);
        if free_before && free_after {
            return Some(start..end);
        }
    }
    None
}

/// The first of several words that a plain text has.
pub(super) fn first<'a>(text: &str, words: &'a [String]) -> Option<&'a str> {
    words
        .iter()
        .find(|word| find(text, word).is_some())
        .map(String::as_str)
}

/// As [`first`], and takes every such word out of the text, the longest first, so that "without
/// contrast" leaves no "contrast".
pub(super) fn take<'a>(text: &mut String, words: &'a [String]) -> Option<&'a str> {
    let mut longest: Vec<&String> = words.iter().collect();
    longest.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut found = None;
    for word in longest {
        while let Some(range) = find(text, word) {
            found = found.or(Some(word.as_str()));
            text.replace_range(range, " | ");
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, word: &str) -> bool {
        find(&plain(text), &plain(word)).is_some()
    }

    #[test]
    fn a_word_is_found_whatever_separates_it() {
        for (text, word) in [
            ("AX_T1-POST.GD", "post"),
            ("t1 w/o contrast", "w/o"),
            ("Sag T1 +C", "+c"),
            ("Sag T1+C", "+c"),
            ("AX T1 C+ BRAVO", "c+"),
            ("3DT1MPRAGE_iso", "*mprage*"),
            ("T2 dark-fluid", "dark fluid"),
            ("Gadolinium", "gado*"),
        ] {
            assert!(has(text, word), "{word} in {text}");
        }
        for (text, word) in [
            ("posterior fossa", "post"),
            ("space", "ce"),
            ("Sag T1 +CE", "+c"),
            ("prescan", "pre"),
            ("t1", "*"),
            ("", "post"),
        ] {
            assert!(!has(text, word), "{word} in {text}");
        }
    }

    #[test]
    fn a_longer_phrase_hides_the_words_in_it() {
        let words = ["without".to_owned(), "without contrast".to_owned()];
        let mut text = plain("T1 without contrast");
        assert_eq!(take(&mut text, &words), Some("without contrast"));
        assert_eq!(find(&text, "contrast"), None);
        assert_eq!(take(&mut text, &words), None);
    }
}

//! Words from files and machines of others, made safe to print: a name must not move a terminal's
//! cursor, hide what follows it, or look like a line of ours.

/// The text with every character that a terminal would obey instead of show written as its code, as
/// in `\u{1b}`. A backslash stays as it is: paths have them.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_obeyed(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// The same for a message of several lines: lines after the first are indented, so that none of
/// them can be taken for the beginning of another message.
#[must_use]
pub fn visible_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(visible).collect();
    lines.join("\n  ")
}

/// Controls (escape sequences begin with one), line and paragraph separators, and the marks that
/// turn the direction of writing or take no room.
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_its_code() {
        assert_eq!(visible("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(visible("\u{9b}31m\r\u{7}"), "\\u{9b}31m\\u{d}\\u{7}");
        assert_eq!(visible("gnp\u{202e}.exe"), "gnp\\u{202e}.exe");
        assert_eq!(
            visible("Fälle/Ärzte C:\\mri 患者"),
            "Fälle/Ärzte C:\\mri 患者"
        );
    }

    #[test]
    fn a_line_in_a_name_cannot_look_like_a_line_of_ours() {
        assert_eq!(visible("a\nerror: b"), "a\\u{a}error: b");
        assert_eq!(
            visible_lines("one:\nhint: two\u{1b}"),
            "one:\n  hint: two\\u{1b}"
        );
    }
}

//! Text from foreign files and machines, made safe to print: a name must not move the terminal's
//! cursor, hide the text after it, or look like a message of this program.

/// The text with every character that a terminal would act on written as its code, as in `\u{1b}`.
/// A backslash is not escaped, because paths contain it.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_control(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// The same for a message of several lines. Lines after the first are indented, so that none of
/// them looks like the beginning of another message.
#[must_use]
pub fn visible_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(visible).collect();
    lines.join("\n  ")
}

/// Control characters (escape sequences begin with one), line and paragraph separators, and the
/// characters that change the direction of writing or have no width.
fn is_control(letter: char) -> bool {
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

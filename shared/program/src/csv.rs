//! Cells of tables that spreadsheets open.

/// A text as a cell. What a spreadsheet would take for a formula gets an apostrophe before it,
/// which makes it text.
#[must_use]
pub fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    let plain = !formula && !text.contains([',', '"', '\n', '\r']);
    if plain {
        text
    } else {
        format!("\"{}\"", text.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_name_with_a_comma_stays_one_cell() {
        assert_eq!(cell("case 7"), "case 7");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    }

    #[test]
    fn a_name_never_becomes_a_formula() {
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        for name in ["+a", "-a", "@a", "\ta"] {
            assert_eq!(cell(name), format!("\"'{name}\""));
        }
        assert_eq!(cell("a-1"), "a-1");
    }
}

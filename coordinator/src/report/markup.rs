//! Pieces of HTML that pages are put together from.

const STYLE: &str = include_str!("style.css");

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// Its file's name without the ending.
    pub(super) name: &'static str,
    /// A heading.
    pub(super) title: &'static str,
    /// What to see.
    pub(super) caption: &'static str,
    /// The picture.
    pub(super) svg: String,
}

/// Text made safe inside HTML.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A page that needs nothing else. `body` and `footer` are HTML already.
pub(super) fn document(name: &str, software: &str, body: &str, footer: &str) -> String {
    let (name, software) = (escape(name), escape(software));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{name}: \
         report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n{body}\n<footer>Written by coordinator {software}. {footer}</footer>\n</main>\n</body>\n</html>\n"
    )
}

/// A table from a heading row and rows of cells that are already HTML; the first column is a row's
/// heading.
pub(super) fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let size = if head.len() > 7 {
        " class=\"many\""
    } else {
        ""
    };
    let mut out = format!("<div class=\"scroll\"><table{size}>\n<thead><tr>");
    out.extend(
        head.iter()
            .map(|cell| format!("<th scope=\"col\">{cell}</th>")),
    );
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        let (name, cells) = row
            .split_first()
            .map_or(("", &row[..]), |(name, cells)| (name.as_str(), cells));
        out.push_str(&format!("<tr><th scope=\"row\">{name}</th>"));
        out.extend(cells.iter().map(|cell| format!("<td>{cell}</td>")));
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>"
}

/// Cells of a table, from texts that are HTML already.
pub(super) fn words(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

/// A picture with its heading and what to see in it.
pub(super) fn figure(figure: &Figure) -> String {
    format!(
        "<figure id=\"{}\">\n<h2>{}</h2>\n{}<figcaption>{}</figcaption>\n</figure>",
        figure.name, figure.title, figure.svg, figure.caption
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(escape("<b a='1'>&\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
    }
}

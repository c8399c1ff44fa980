//! The page: one HTML text with its style and script inside. It may load nothing else, and connect
//! to the coordinator only.

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: [&str; 2] = [include_str!("page/chart.js"), include_str!("page/page.js")];

/// The page whose style and script carry this nonce.
pub(super) fn page(nonce: &str) -> String {
    HTML.replace("{nonce}", nonce)
        .replace("{style}", STYLE)
        .replace("{script}", &SCRIPT.concat())
}

/// What the page may do.
pub(super) fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src \
         'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

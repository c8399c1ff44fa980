//! The page on adding a rule shows code that compiles.

#[test]
fn the_page_on_adding_a_rule_shows_the_example_as_it_is() {
    let page = include_str!("../../../../docs/developers/adding-a-rule.md");
    let example = include_str!("../../examples/equal_mean_rule.rs");
    let mut shown = 0;
    for block in page.split("```rust\n").skip(1) {
        let code = block.split("```").next().unwrap_or_default();
        if code.starts_with("// In ") {
            continue;
        }
        assert!(example.contains(code), "not in the example:\n{code}");
        shown += 1;
    }
    assert!(shown > 0, "the page shows no rule");
}

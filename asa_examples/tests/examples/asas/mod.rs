//! The examples as their users run them: as programs, in private networks. With GRASPY_DIR, the same with their
//! Python counterparts on the other side.

mod commandline;
mod files;
mod graspy;
mod money;
mod node;
pub(crate) mod program;
mod talk;

/// docs/porting.md shows Gray word by word.
#[test]
fn the_port_in_the_document_is_the_program() {
    let lines = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let document = lines(include_str!("../../../../docs/porting.md"));
    let sources =
        lines(concat!(include_str!("../../../src/gray.rs"), include_str!("../../../src/briggs.rs")));
    let blocks = document.split("```rs\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let mut count = 0;
    for block in blocks {
        assert!(sources.contains(block), "not in the sources:\n{block}");
        count += 1;
    }
    assert_eq!(count, 11);
}

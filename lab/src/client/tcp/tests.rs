use super::parse;

#[test]
fn only_a_whole_line_counts() {
    assert_eq!(parse(b"n1 77\n"), Some(("n1", 77)));
    assert_eq!(parse(b"n1 7"), None);
    assert_eq!(parse(b"n1\n"), None);
}

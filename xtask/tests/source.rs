//! Code, comments and texts are told apart.

use xtask::source::{layers, parts};

fn check(text: &str, code: &str, comments: &str) {
    let found = layers(text);
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeeze(&found.code), code, "code of {text}");
    assert_eq!(squeeze(&found.comments), comments, "comments of {text}");
    assert_eq!(found.code.lines().count(), text.lines().count());
}

#[test]
fn comments_are_no_code() {
    check("a // b\nc", "a c", "// b");
    check("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */");
    check("//! a \"b\nc", "c", "//! a \"b");
    check("a /* b", "a", "/* b");
}

#[test]
fn texts_are_neither() {
    check(r#"f("a // b", c)"#, r#"f(" ", c)"#, "");
    check(r#"f("a \" b", c)"#, r#"f(" ", c)"#, "");
    check(r##"f(r#"a " // b"#, c)"##, "f(r #, c)", "");
    check(r#"f(b"a", br"\", c)"#, r#"f(b ", b ", c)"#, "");
    check("for x in bar\"a\"", "for x in bar\" \"", "");
}

#[test]
fn lifetimes_are_code_and_characters_are_texts() {
    check("fn f<'a>(x: &'a str) -> &'static str", "fn f<'a>(x: &'a str) -> &'static str", "");
    check(r#"m('"', '\'', '\\', b'"', 'x') // y"#, "m(' ', ' ', ' ', b ', ' ')", "// y");
    check(r"m('\u{1f600}', a)", "m(' ', a)", "");
}

#[test]
fn names_have_parts() {
    assert_eq!(parts("NodeId"), ["node", "id"]);
    assert_eq!(parts("node_id"), ["node", "id"]);
    assert_eq!(parts("NODE_ID_MAX"), ["node", "id", "max"]);
    assert_eq!(parts("Ipv4Addr"), ["ipv4", "addr"]);
}

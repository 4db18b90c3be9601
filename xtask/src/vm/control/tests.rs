use std::process::Command;

use super::{Answer, answer, line};

fn said(code: i32, text: &str) -> Option<Answer> {
    Some(Answer { code, text: text.into() })
}

#[test]
fn an_answer_stands_between_its_own_marks() {
    let come = b"rest of an older one\n=end=6=0\n\n=begin=7=\nfirst\nsecond\n\n=end=7=3\n";
    assert_eq!(answer(come, 7), said(3, "first\nsecond"));
    assert_eq!(answer(come, 6), None);
    assert_eq!(answer(b"\n=begin=1=\n\n=end=1=0\n", 1), said(0, ""));
    // Output without an end of line.
    assert_eq!(answer(b"\n=begin=2=\nabc\n=end=2=0\n", 2), said(0, "abc"));
}

#[test]
fn half_an_answer_is_none() {
    let come = b"\n=begin=7=\nfirst\n\n=end=7=12\n";
    for length in 0..come.len() - 1 {
        assert_eq!(answer(&come[..length], 7), None, "{length}");
    }
    assert_eq!(answer(come, 7), said(12, "first"));
}

#[test]
fn a_shell_tells_output_and_exit_code() {
    for (command, expected) in [
        ("true", said(0, "")),
        ("echo one; echo two >&2; exit 3", said(3, "one\ntwo")),
        ("printf 'no end of line'; false", said(1, "no end of line")),
        ("cat", said(0, "")),
    ] {
        let output = Command::new("sh").arg("-c").arg(line(command, 4)).output().expect("it runs");
        assert_eq!(answer(&output.stdout, 4), expected, "{command}");
    }
}

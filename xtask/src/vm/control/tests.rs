use super::{Answer, answer};

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

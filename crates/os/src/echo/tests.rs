//! Bytes of questions and answers. Real ones are in `tests/real/echo.rs`.

use super::*;

#[test]
fn a_question_has_a_checksum_that_makes_its_sum_complete() {
    let message = super::message(true, 0x0102_0304_0506_0708);
    assert_eq!(message, [8, 0, 0xdb, 0xdd, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(checksum(&message), 0, "RFC 1071: over everything it is complete");
}

#[test]
fn only_an_answer_to_this_question_counts() {
    let token = 77;
    let mut answer = message(true, token);
    answer[0] = 0;
    let header = [0x45; 20];
    let framed = |message: &[u8]| [&header[..], message].concat();
    assert!(is_answer(true, token, &framed(&answer)));
    assert!(!is_answer(true, token + 1, &framed(&answer)), "another one's");
    assert!(!is_answer(true, token, &framed(&message(true, token))), "the question itself");
    assert!(!is_answer(true, token, &framed(&answer[..8])), "cut");
    assert!(!is_answer(true, token, &[0x4f; 20]), "a header longer than what came");
    assert!(!is_answer(true, token, &[]));
    let mut answer = message(false, token);
    answer[0] = 129;
    assert!(is_answer(false, token, &answer), "of IPv6 there is no header");
    assert!(!is_answer(true, token, &answer));
}

use super::*;

#[test]
fn the_last_of_one_and_the_first_of_the_others() {
    let mut trace = Trace::default();
    let at = Duration::from_millis;
    for (number, (name, received)) in (0..).zip([("n1", 1), ("n1", 7), ("n3", 5), ("n2", 6)]) {
        trace.note_sent(at(0), true);
        trace.note_answer(number, name, 0, at(received));
    }
    assert_eq!(of(&trace, "n1", at(2)), (Some(at(7)), 1));
    assert_eq!(first_of_others(&trace, "n1"), Some((at(5), "n3")));
    trace.answers.truncate(2);
    assert_eq!(first_of_others(&trace, "n1"), None);
}

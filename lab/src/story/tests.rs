use super::*;
use crate::trace::Trace;

fn both(answers: &[&str], owners: &[&str]) -> Seen {
    Seen { answers: seen(answers), owners: seen(owners) }
}

fn seen(names: &[&str]) -> Trace {
    let mut trace = Trace::default();
    for (number, name) in names.iter().enumerate() {
        let at = Duration::from_millis(number as u64);
        trace.note_sent(at, true);
        trace.note_answer(number as u64, name, 1, at);
    }
    trace
}

#[test]
fn evidence_is_the_order_of_owners() {
    let owners = ["n1", "n2", "n1"].map(str::to_owned);
    let good = ["n1", "n1", "n2", "n1"];
    assert!(evidence(&both(&good, &good), &owners).is_ok());
    let overlapping = ["n1", "n2", "n1", "n2"];
    assert!(evidence(&both(&overlapping, &good), &owners).is_err());
    assert!(evidence(&both(&good, &overlapping), &owners).is_err());
    assert!(evidence(&both(&["n1", "n1"], &good), &owners).is_err());
    let mut twice = both(&good, &good);
    twice.answers.note_answer(3, "n1", 1, Duration::from_millis(9));
    assert!(evidence(&twice, &owners).is_err());
}

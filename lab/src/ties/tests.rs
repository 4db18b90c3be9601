use super::*;

fn noted(looks: &[&[&str]]) -> (Looks, Vec<String>) {
    let (mut all, mut outcome) = (Looks::default(), Outcome::default());
    for found in looks {
        let found = found.iter().map(|name| (*name).to_owned()).collect();
        all.note(found, &mut outcome, || "what they say".to_owned());
    }
    (all, outcome.failures)
}

#[test]
fn one_that_goes_on_is_the_survivor() {
    let (looks, failures) = noted(&[&[], &["n2"], &["n2"]]);
    assert_eq!((looks.only(), failures), (Some(&"n2".to_owned()), Vec::new()));
    assert_eq!(noted(&[&[], &[]]).0.only(), None);
}

#[test]
fn two_at_any_look_are_a_failure_that_is_told_once() {
    for looks in [&[&["n1", "n2"][..], &["n1"], &["n1"]][..], &[&["n1"], &["n2"], &[]]] {
        let (looks, failures) = noted(looks);
        assert_eq!(
            (looks.only(), failures),
            (None, vec!["two survivors\nwhat they say".to_owned()])
        );
    }
}

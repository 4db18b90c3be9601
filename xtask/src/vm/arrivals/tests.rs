use std::time::Duration;

use lab::clock;

use super::{Arrivals, Span};

fn span(after: u64, by: u64) -> Span {
    Span { after: Duration::from_millis(after), by: Duration::from_millis(by) }
}

#[test]
fn spans_that_overlap_have_no_order() {
    assert!(span(1, 2).is_before(span(2, 3)));
    assert!(!span(2, 3).is_before(span(1, 2)));
    for (one, other) in [(span(1, 3), span(2, 4)), (span(1, 4), span(2, 3))] {
        assert!(!one.is_before(other) && !other.is_before(one), "{one:?} {other:?}");
    }
}

#[test]
fn what_came_first_is_before_what_came_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = ["one", "two"].map(|name| directory.path().join(name));
    let [one, two] = files.each_ref().map(|file| Arrivals::watch(file).expect("it is watched"));
    // So long that both were looked at in between, on a machine that has much to do as well.
    let look = || {
        let until = clock::now() + Duration::from_secs(30);
        let from = clock::now();
        let looked = |of: &Arrivals| super::lock(&of.shared).looked > from;
        while !(looked(&one) && looked(&two)) {
            assert!(clock::now() < until, "nobody looks");
            clock::pause(Duration::from_millis(1));
        }
    };
    let begin = clock::now();
    look();
    std::fs::write(&files[1], "first").expect("it is written");
    look();
    let between = clock::now();
    look();
    std::fs::write(&files[0], "second").expect("it is written");
    std::fs::write(&files[1], "first and third").expect("it is written");
    look();
    look();
    let (first, second, third) = (two.of(5), one.of(6), two.of(6));
    let [first, second, third] = [first, second, third].map(|span| span.expect("it was watched"));
    assert!(first.is_before(second) && first.is_before(third), "{first:?} {second:?} {third:?}");
    assert!(begin <= first.by && first.by <= between, "{begin:?} {first:?} {between:?}");
    assert!(between <= second.by && second.by <= clock::now(), "{between:?} {second:?}");
    assert_eq!(two.of(15).expect("it was watched"), third);
    // What nobody has looked at yet has come by now.
    let later = one.of(7).expect("it was watched");
    assert!(second.is_before(later) && later.by <= clock::now(), "{second:?} {later:?}");
}

#[test]
fn a_file_that_cannot_be_watched_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("file"), "").expect("it is written");
    let arrivals = Arrivals::watch(&directory.path().join("file/console")).expect("a thread");
    let until = clock::now() + Duration::from_secs(30);
    while arrivals.of(1).is_ok() {
        assert!(clock::now() < until, "nobody says that it is no directory");
        clock::pause(Duration::from_millis(1));
    }
}

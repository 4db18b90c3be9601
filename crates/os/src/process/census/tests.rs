//! Sessions, of processes that never were.

use super::*;

/// Number, start and session.
type Process = (u32, u64, u32);

/// Who belongs to the one whose first process, number 10, started at 400.
fn owned(processes: &[Process]) -> Vec<u32> {
    let seen = |&(pid, started, session): &Process| Seen::new(pid, started, 1, session);
    let mut census = Census { seen: processes.iter().map(seen).collect() };
    let groups = Groups::Service("s");
    census.own(0, &Evidence { sessions: &[(10, 400)], processes: &[], groups });
    census.settle();
    census.found().filter(|found| found.owner == Owner::Known(0)).map(|found| found.pid).collect()
}

#[test]
fn a_session_is_known_by_the_start_of_who_has_its_number() {
    let (member, stranger) = ((11, 510, 10), (12, 510, 9));
    assert_eq!(owned(&[(10, 400, 10), member, stranger]), [10, 11]);
    assert_eq!(owned(&[member, stranger]), [11], "its first process is gone");
    assert_eq!(owned(&[(10, 500, 10), member]), [0; 0], "the number was given away");
    assert_eq!(owned(&[(10, STARTED_UNKNOWN, 10), member]), [10, 11], "who hangs may be either");
    assert_eq!(owned(&[(11, 399, 10)]), [0; 0], "who is older is of another session");
}

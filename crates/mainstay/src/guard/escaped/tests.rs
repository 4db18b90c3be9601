//! The order of a look, with processes that are made up.

use std::cell::RefCell;

use super::*;

fn found(pid: u32, owner: Owner) -> Found {
    Found { pid, started: 1, owner }
}

#[test]
fn all_who_are_known_are_ended_before_anybody_is_asked_whatever_fails() {
    let nobody = Owner::Nobody { beside: false };
    let all =
        [found(1, nobody), found(2, Owner::Known(0)), found(3, nobody), found(4, Owner::Known(1))];
    let acts = RefCell::new(Vec::new());
    let judge = |found: &Found| match found.owner {
        Owner::Known(slot) => Verdict::Of(slot.into()),
        _ => Verdict::Ask,
    };
    let ask = |found: &Found| {
        acts.borrow_mut().push(("ask", found.pid));
        if found.pid == 1 { Err(Errno::AGAIN.into()) } else { Ok(Verdict::OfSomebody) }
    };
    let end = |found: &Found, verdict: Verdict| match verdict {
        Verdict::Leave | Verdict::Ask => Ok(0),
        Verdict::Of(_) | Verdict::OfSomebody => {
            acts.borrow_mut().push(("end", found.pid));
            if found.pid == 2 { Err(Errno::PERM.into()) } else { Ok(1) }
        }
    };
    let result = in_order(|| all.iter().copied(), judge, ask, end);
    assert_eq!(*acts.borrow(), [("end", 2), ("end", 4), ("ask", 1), ("ask", 3), ("end", 3)]);
    let first = result.unwrap_err().raw_os_error();
    assert_eq!(first, Some(Errno::PERM.raw_os_error()), "the first that failed is told");
}

#[test]
fn who_was_killed_and_lives_on_is_new_once() {
    let mut killed = Killed::new();
    killed.begin();
    assert!(killed.is_new(7, 1) && killed.is_new(5, 1));
    for _ in 0..3 {
        killed.begin();
        assert!(!killed.is_new(5, 1) && !killed.is_new(7, 1));
    }
    killed.begin();
    assert!(killed.is_new(7, 2), "another process with its number");
    killed.begin();
    assert!(killed.is_new(5, 1), "it was gone in between");
}

#[test]
fn more_killed_than_can_be_remembered_are_new_once_and_take_no_memory() {
    let mut killed = Killed::new();
    let count = u32::try_from(KILLED_MAX).unwrap() + 10;
    let sizes = (killed.now.capacity(), killed.before.capacity());
    killed.begin();
    assert!((0..count).all(|pid| killed.is_new(pid, 1)));
    killed.begin();
    assert!((0..count).all(|pid| !killed.is_new(pid, 1)));
    assert_eq!((killed.now.capacity(), killed.before.capacity()), sizes);
}

//! The fence, with the real kernel: what is said late opens nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use base::Instant;

use super::push::{Pusher, SetsGate};
use super::{FENCE, Keeper, list, table};

const NODE: &str = "sets n1";
/// How long a machine may need for what it does in 30 ms as a rule.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts the calling thread into a network namespace of its own, with a gate.
fn make() -> Option<(Keeper, SetsGate, Pusher)> {
    #[expect(deprecated, reason = "only the file-table flag of unshare is unsafe; not used here")]
    let isolated = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET);
    if let Err(error) = isolated {
        println!("skipped: the kernel forbids a namespace here: {error}");
        return None;
    }
    let keeper = Keeper::open(NODE, &BTreeSet::from(addresses())).unwrap();
    let (gate, pusher) = SetsGate::inherit(NODE).unwrap();
    Some((keeper, gate, pusher))
}

fn addresses() -> [IpAddr; 2] {
    ["10.9.0.100", "fd09::100"].map(|text| text.parse().unwrap())
}

fn now() -> Instant {
    crate::clock::boottime()
}

/// Lets time pass until the kernel has seen this moment, and a tick more.
fn pass(until: Instant) {
    while now() < until + Duration::from_millis(20) {
        std::thread::yield_now();
    }
}

fn until(deadline: Instant) -> BTreeMap<IpAddr, Instant> {
    addresses().map(|address| (address, deadline)).into()
}

#[test]
fn what_passes_the_fence_ends_before_its_deadline() {
    let Some((_keeper, _gate, mut pusher)) = make() else { return };
    // Again where this thread did not get its turn while the fence was up.
    let patience = now() + PATIENCE;
    let (clock, deadline) = (1..)
        .find_map(|key| {
            assert!(now() < patience, "never within {FENCE:?}");
            pusher.fence(key).unwrap();
            let clock = now();
            let deadline = clock + Duration::from_millis(400);
            let error = pusher.past_fence(key, clock, &until(deadline)).unwrap();
            let open = pusher.open_now().len();
            let is_early = now() < clock + Duration::from_millis(300);
            assert!(error == libc::ENOENT || error == 0, "{error}");
            assert!(error != 0 || open == 2 || !is_early, "{open} of 2 are open");
            (error == 0 && open == 2).then_some((clock, deadline))
        })
        .expect("there is always a next key");
    let mut last = clock;
    loop {
        let asked = now();
        if pusher.open_now().is_empty() {
            break;
        }
        last = asked;
    }
    assert!(last < deadline, "seen open {:?} after the deadline", last.since(deadline));
}

/// The sender is stopped after it looked at the clock.
#[test]
fn a_transaction_that_comes_late_opens_nothing() {
    let Some((_keeper, _gate, mut pusher)) = make() else { return };
    let deadline = now() + Duration::from_secs(600);
    pusher.fence(1).unwrap();
    let clock = now();
    pass(clock + FENCE);
    assert_eq!(pusher.past_fence(1, clock, &until(deadline)).unwrap(), libc::ENOENT);
    assert!(pusher.open_now().is_empty());

    // Nor does it when the next fence is up: each has a key of its own, and is there once.
    pusher.fence(2).unwrap();
    assert_eq!(pusher.past_fence(1, clock, &until(deadline)).unwrap(), libc::ENOENT);
    assert!(pusher.open_now().is_empty());
    let patience = now() + PATIENCE;
    let (key, clock) = (3..)
        .find_map(|key| {
            assert!(now() < patience, "never within {FENCE:?}");
            let clock = now();
            pusher.fence(key).unwrap();
            let error = pusher.past_fence(key, clock, &until(deadline)).unwrap();
            assert!(error == 0 || error == libc::ENOENT, "{error}");
            (error == 0).then_some((key, clock))
        })
        .expect("there is always a next key");
    assert_eq!(pusher.past_fence(key, clock, &until(deadline)).unwrap(), libc::ENOENT);
    assert_eq!(pusher.open_now().len(), 2);
}

#[test]
fn the_loop_says_and_the_thread_does() {
    let Some((mut keeper, mut gate, mut pusher)) = make() else { return };
    assert!(pusher.open_now().is_empty(), "closed at first");
    let [four, six] = addresses();
    let deadline = now() + Duration::from_secs(600);
    gate.push(four, deadline);
    let shown = |gate: &SetsGate| BTreeMap::from_iter(gate.slots())[&four].deadline;
    assert_eq!(shown(&gate), Instant::ZERO, "it is not open yet");
    assert!(pusher.wait(now() + Duration::from_secs(600)), "it is told at once");
    pusher.turn().unwrap();
    assert_eq!(pusher.open_now(), BTreeSet::from([four]));
    assert_eq!(shown(&gate), deadline);
    gate.push(six, now() + Duration::from_secs(600));
    gate.push(four, Instant::ZERO);
    pusher.turn().unwrap();
    assert_eq!(pusher.open_now(), BTreeSet::from([six]));

    // Other addresses, by a new configuration.
    let other: IpAddr = "10.9.0.101".parse().unwrap();
    gate.sync(&BTreeSet::from([six, other]));
    let is_under =
        |gate: &SetsGate, address| gate.awaited(address).is_some_and(|it| it.wait(Instant::ZERO));
    assert!(is_under(&gate, six) && !is_under(&gate, other), "the thread did not come by yet");
    gate.push(other, now() + Duration::from_secs(600));
    gate.push(four, now() + Duration::from_secs(600));
    let awaited = gate.awaited(other).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| awaited.wait(now() + Duration::from_secs(600)));
        pusher.turn().unwrap();
        assert!(waits.join().unwrap());
    });
    assert_eq!(pusher.open_now(), BTreeSet::from([six, other]));
    assert!(is_under(&gate, other) && !is_under(&gate, four));
    let known = list(&mut keeper.tables, &keeper.name).unwrap();
    assert_eq!(known.into_keys().collect::<BTreeSet<_>>(), BTreeSet::from([six, other]));

    // Somebody loads other rules; the guard, which came by meanwhile, makes the table again, closed,
    // with the addresses of the new configuration, and the daemon opens.
    assert_eq!(keeper.keep().unwrap(), 0, "nothing is missing");
    let gone = table::take_away(&keeper.name);
    assert_eq!(keeper.tables.carry_out(&gone).unwrap(), 0);
    let later = now() + Duration::from_secs(700);
    gate.push(other, later);
    assert_eq!(pusher.turn().unwrap_err().errno(), libc::ENOENT);
    let shown = BTreeMap::from_iter(gate.slots())[&other].deadline;
    assert_eq!(shown, later, "what failed may have been done: at the latest then");
    assert!(!is_under(&gate, other), "nobody knows what is there");
    assert!(keeper.keep().unwrap() > 0);
    assert!(pusher.open_now().is_empty());
    let known = list(&mut keeper.tables, &keeper.name).unwrap();
    assert_eq!(known.into_keys().collect::<BTreeSet<_>>(), BTreeSet::from([six, other]));
    assert_eq!(keeper.keep().unwrap(), 0, "it is whole");
    pusher.turn().unwrap();
    assert_eq!(pusher.open_now(), BTreeSet::from([six, other]));

    // The next life of the guard closes what there is, and keeps what it did not know.
    let next = Keeper::open(NODE, &BTreeSet::from([four])).unwrap();
    assert!(next.was_there());
    assert_eq!(next.addresses(), BTreeSet::from([four, six, other]));
    assert!(pusher.open_now().is_empty());
    next.remove().unwrap();
    assert_eq!(keeper.count(0).unwrap(), 0);
    keeper.remove().unwrap();
}

/// The guard does not allocate: the longest transaction has room in what it has from the start.
#[test]
fn the_longest_transaction_has_room() {
    let four = |number: usize| IpAddr::from((0x0a00_0000 | number as u32).to_be_bytes());
    let six = |number: usize| IpAddr::from((0xfd_u128 << 120 | number as u128).to_be_bytes());
    for address in [&four as &dyn Fn(usize) -> IpAddr, &six] {
        let addresses: Vec<IpAddr> = (0..crate::gate::SLOTS_MAX).map(address).collect();
        let room = Vec::with_capacity(table::LENGTH_MAX);
        let before = room.as_ptr();
        let after = table::build(NODE, addresses.iter(), room).into_room();
        assert_eq!(after.as_ptr(), before, "{} bytes", after.len());
    }
}

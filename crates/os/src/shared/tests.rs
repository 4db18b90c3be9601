//! Both sides of the memory in one process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Incarnation, Instant};

use super::layout::{self, hot};
use super::*;
use crate::sys::Mapping;

fn pair() -> (GuardSide, DaemonSide) {
    let guard = GuardSide::create().unwrap();
    let daemon = DaemonSide::beside(&guard);
    (guard, daemon)
}

impl DaemonSide {
    /// As [`DaemonSide::inherit`] in a child would make it.
    fn beside(guard: &GuardSide) -> DaemonSide {
        let mapping = Mapping::new(guard.descriptor().as_fd(), layout::TOTAL).unwrap();
        DaemonSide::with(mapping, guard.bell().clone(), None)
    }
}

fn description(fill: u8) -> Description {
    let v4 = IpAddr::from([fill; 4]);
    let v6 = IpAddr::from([fill; 16]);
    let letter = char::from(b'a' + fill % 26).to_string();
    Description {
        service: letter.repeat(63),
        group: Some(PathBuf::from(format!("/{}", letter.repeat(254)))),
        addresses: [v4, v6]
            .into_iter()
            .cycle()
            .take(ADDRESSES_MAX)
            .map(|address| HeldAddress { interface: u32::from(fill), address, prefix: fill })
            .collect(),
        processes: (0..PROCESSES_MAX)
            .map(|_| HeldProcess {
                resource: letter.repeat(63),
                pid: u32::from(fill) * 1_000_003,
                started: u64::from(fill) << 50,
            })
            .collect(),
        storage: fill.is_multiple_of(2),
    }
}

const SOON: Instant = Instant::from_millis(1_000);
const LATER: Instant = Instant::from_millis(2_000);

#[test]
fn an_entry_is_seen_from_both_sides() {
    let (guard, mut daemon) = pair();
    assert_eq!((guard.used(), guard.held(0)), (0, None));
    let slot = daemon.register(&description(7), SOON).unwrap();
    assert!(guard.bell().take(), "the guard is woken for a new entry");

    let held = guard.held(0).expect("in use");
    assert_eq!((held.deadline, held.killed, held.gone), (SOON, false, false));
    let mut subject = Subject::default();
    assert!(guard.read(0, &mut subject));
    let expected = description(7);
    assert_eq!(subject.service(), expected.service);
    assert_eq!(subject.group(), expected.group.as_ref().unwrap().to_str().unwrap());
    assert_eq!(subject.addresses(), expected.addresses);
    assert_eq!(subject.processes().len(), PROCESSES_MAX);
    assert_eq!(subject.processes()[63], (7_000_021, 7 << 50));
    assert_eq!(daemon.entries()[0].description, expected);

    assert!(daemon.push(slot, LATER));
    assert!(!guard.bell().take(), "a later deadline needs no wake-up");
    assert!(daemon.push(slot, SOON));
    assert!(guard.bell().take(), "an earlier one does");

    daemon.release(slot);
    assert_eq!(guard.held(0), None);
    assert!(daemon.entries().is_empty());
    assert_eq!(guard.used(), 1, "the place stays known");
}

#[test]
fn a_killed_use_has_no_right_any_more_and_the_next_use_has() {
    let (guard, mut daemon) = pair();
    let slot = daemon.register(&description(1), SOON).unwrap();
    let held = guard.held(0).unwrap();
    guard.set_killed(0, held.generation, SOON);
    assert!(!daemon.push(slot, LATER), "whatever evidence the daemon has");
    assert_eq!(guard.held(0).unwrap().deadline, SOON);
    assert!(guard.held(0).unwrap().killed);
    let killed = Killed { at: SOON, gone: None, address_error: None };
    assert_eq!(daemon.killed(slot), Some(killed));
    guard.set_address_error(0, libc::EPERM);
    guard.set_gone(0, LATER);
    let killed = Killed { at: SOON, gone: Some(LATER), address_error: Some(libc::EPERM) };
    assert_eq!(daemon.entries()[0].killed, Some(killed));
    assert!(guard.held(0).unwrap().gone);

    daemon.release(slot);
    let again = daemon.register(&description(2), LATER).unwrap();
    assert_eq!(again, slot, "the lowest free place");
    assert_eq!(daemon.killed(again), None);
    assert!(!guard.held(0).unwrap().killed);
    assert!(daemon.push(again, SOON));
}

#[test]
fn a_permit_ends_with_the_right_of_its_service() {
    let (guard, mut daemon) = pair();
    let slot = daemon.register(&description(1), Instant::FAR).unwrap();
    let permit = daemon.permit(slot);
    assert!(permit.is_valid());
    assert!(daemon.push(slot, Instant::from_nanos(1)));
    assert!(!permit.is_valid(), "its deadline is over");
    assert!(daemon.push(slot, Instant::FAR));
    assert!(permit.is_valid());
    daemon.release(slot);
    assert!(!permit.is_valid(), "it was released");
    let again = daemon.register(&description(1), Instant::FAR).unwrap();
    assert!(!permit.is_valid(), "another use of the same place");
    let permit = daemon.permit(again);
    assert!(permit.is_valid());
    guard.set_killed(0, guard.held(0).unwrap().generation, SOON);
    assert!(!permit.is_valid(), "it was killed");
}

#[test]
fn a_writer_that_dies_in_the_middle_leaves_the_former_description() {
    let (guard, mut daemon) = pair();
    daemon.register(&description(3), SOON).unwrap();
    let words = Mapping::new(guard.descriptor().as_fd(), layout::TOTAL).unwrap();
    let number = layout::get(hot(words.words(), 0), layout::DESCRIBED);
    // Half of the next description, never published.
    let place = layout::description(words.words(), 0, number + 1);
    layout::put_bytes(&place[..100], &[0xff; 800]);
    let mut subject = Subject::default();
    assert!(guard.read(0, &mut subject));
    assert_eq!(subject.service(), description(3).service);
    // The next daemon finds the same, and overwrites the half.
    let mut next = DaemonSide::beside(&guard);
    let found = next.entries();
    assert_eq!(found[0].description, description(3));
    next.describe(found[0].slot, &description(4)).unwrap();
    assert!(guard.read(0, &mut subject));
    assert_eq!(subject.service(), description(4).service);
}

#[test]
fn a_reader_never_sees_two_descriptions_mixed() {
    let (guard, mut daemon) = pair();
    let slot = daemon.register(&description(0), SOON).unwrap();
    let stop = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut fill = 0;
            while !stop.load(Ordering::Relaxed) {
                fill = (fill + 1) % 26;
                daemon.describe(slot, &description(fill)).unwrap();
            }
        });
        let mut subject = Subject::default();
        let mut reads = 0;
        for _ in 0..3_000 {
            if !guard.read(0, &mut subject) {
                continue;
            }
            reads += 1;
            let fill = subject.service().as_bytes()[0] - b'a';
            let expected = description(fill);
            assert_eq!(subject.service(), expected.service);
            assert_eq!(subject.group(), expected.group.as_ref().unwrap().to_str().unwrap());
            assert_eq!(subject.addresses(), expected.addresses);
            let process = (expected.processes[0].pid, expected.processes[0].started);
            assert!(subject.processes().iter().all(|&found| found == process));
        }
        stop.store(true, Ordering::Relaxed);
        reads
    });
    assert!(reads > 0, "the reader came through");
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_changes() {
    let (guard, mut daemon) = pair();
    let slot = daemon.register(&description(5), SOON).unwrap();
    let mut addresses = description(5);
    addresses.addresses.push(addresses.addresses[0]);
    let mut processes = description(5);
    processes.processes.push(processes.processes[0].clone());
    let mut group = description(5);
    group.group = Some(PathBuf::from("x".repeat(GROUP_PATH_MAX + 1)));
    let mut name = description(5);
    name.service.push('x');
    for wrong in [addresses, processes, group, name] {
        let error = daemon.describe(slot, &wrong).unwrap_err();
        assert!(matches!(error, SharedError::Full { .. }), "{error}");
        assert!(daemon.register(&wrong, SOON).is_err());
    }
    assert_eq!(daemon.entries().len(), 1);
    assert_eq!(daemon.entries()[0].description, description(5));

    let small = Description { service: "s".to_owned(), ..Description::default() };
    for _ in 1..ENTRIES_MAX {
        daemon.register(&small, SOON).unwrap();
    }
    assert!(matches!(daemon.register(&small, SOON), Err(SharedError::Full { .. })));
    assert_eq!(guard.used(), ENTRIES_MAX);
}

#[test]
fn goodbyes_are_handed_over_whole() {
    let (guard, mut daemon) = pair();
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    let scoped = std::net::SocketAddrV6::new(link_local, 7_000, 0, 42).into();
    let goodbyes: Vec<Goodbye> = (0..GOODBYES_MAX)
        .map(|index| Goodbye {
            source: if index % 2 == 0 { scoped } else { (Ipv4Addr::LOCALHOST, 1).into() },
            destination: (Ipv4Addr::new(10, 0, 0, index as u8), index as u16).into(),
            frame: vec![index as u8; 1 + index * 4],
        })
        .collect();
    daemon.set_goodbyes(Incarnation(9), &goodbyes).unwrap();
    let mut seen: Vec<Goodbye> = Vec::new();
    let mut take = |source: SocketAddr, destination: SocketAddr, frame: &[u8]| {
        seen.push(Goodbye { source, destination, frame: frame.to_vec() });
    };
    assert_eq!(guard.goodbyes(&mut take), GOODBYES_MAX);
    assert_eq!(seen, goodbyes);

    let too_long = Goodbye { frame: vec![0; 1_201], ..goodbyes[0].clone() };
    assert!(daemon.set_goodbyes(Incarnation(9), &[too_long]).is_err());
    assert_eq!(guard.goodbyes(|_, _, _| ()), 0, "better none than half");
}

#[test]
fn the_guards_words_reach_the_daemon() {
    let (guard, mut daemon) = pair();
    assert_eq!(daemon.guard().last_exit, None);
    let refused = Promises {
        contained: Err(libc::EROFS),
        real_time: Ok(()),
        locked: Err(0),
        gated: Gated::Programs,
    };
    guard.set_promises(refused);
    assert_eq!(daemon.gate(), None);
    assert_eq!(daemon.guard().gate_behind, None);
    for behind in [Some(0), Some(u32::MAX), None] {
        guard.set_gate_behind(behind);
        assert_eq!(daemon.guard().gate_behind, behind);
    }
    guard.set_gate([3, 4, 5, 0]);
    assert_eq!(daemon.gate(), Some([3, 4, 5, 0]));
    assert_eq!(daemon.guard().gate_refused, None);
    for refused in [
        Some(GateRefused { interface: u32::MAX, errno: libc::EOPNOTSUPP }),
        Some(GateRefused { interface: 0, errno: 0 }),
        None,
    ] {
        guard.set_gate_refused(refused);
        assert_eq!(daemon.guard().gate_refused, refused);
    }
    guard.set_restarts(3, 9);
    guard.set_leftovers(2);
    guard.tick(LATER);
    let status = daemon.guard();
    assert_eq!(status.pid, std::process::id());
    assert_eq!((status.restarts, status.last_exit, status.leftovers), (3, Some(9), 2));
    assert_eq!(status.tick, LATER);
    assert_eq!(status.promises.contained, Err(libc::EROFS));
    assert!(status.promises.locked.is_err(), "a refusal without a number is one");
    assert_eq!(status.promises.weaknesses().len(), 2);
    assert_eq!(guard.release_budget(), None);
    daemon.set_budgets(Duration::from_millis(50), Duration::from_secs(9));
    assert_eq!(guard.release_budget(), Some(Duration::from_millis(50)));
    assert_eq!(guard.leave_budget(), Some(Duration::from_secs(9)));
    daemon.set_incarnation(Incarnation(77));
    assert_eq!(guard.daemon().1, Incarnation(77));
}

#[test]
fn another_file_is_not_taken_for_it() {
    use std::os::fd::IntoRawFd;
    let file = tempfile::tempfile().unwrap().into_raw_fd();
    let error = DaemonSide::inherit(file).unwrap_err();
    assert!(matches!(error, SharedError::Foreign(_)), "{error}");
    assert!(DaemonSide::inherit(1).is_err(), "standard output is nobody's memory");
    assert!(DaemonSide::inherit(999_999).is_err());
    // The right memory, but its guard is not our parent.
    let guard = GuardSide::create().unwrap();
    let copy = rustix::io::dup(guard.descriptor()).unwrap().into_raw_fd();
    let error = DaemonSide::inherit(copy).unwrap_err();
    assert!(error.to_string().contains("not the parent"), "{error}");
}

#[test]
fn a_storage_service_is_in_sight_until_it_is_released() {
    use base::feeding::{Feeding, Reason};
    let (guard, mut daemon) = pair();
    let contained = daemon.register(&description(1), SOON).unwrap();
    assert!(!guard.sight().storage, "the other class");
    let slot = daemon.register(&description(2), SOON).unwrap();
    assert!(guard.sight().storage);
    assert!(daemon.entries()[1].description.storage && !daemon.entries()[0].description.storage);
    assert_eq!(Feeding::reason(SOON, &guard.sight()), Reason::None);

    let freshness = std::time::Duration::from_millis(100);
    daemon.set_evidence(SOON, freshness);
    assert_eq!(Feeding::reason(SOON + freshness, &guard.sight()), Reason::Fresh);
    assert_eq!(daemon.sight(), guard.sight());
    assert_eq!(Feeding::reason(LATER, &guard.sight()), Reason::Stale);

    guard.set_killed(1, guard.held(1).unwrap().generation, SOON);
    guard.set_gone(1, SOON);
    assert!(guard.sight().storage, "its processes are gone, its mounts may not be");
    assert_eq!(Feeding::reason(SOON, &guard.sight()), Reason::Killed, "fresh evidence or not");
    daemon.release(slot);
    assert_eq!(Feeding::reason(LATER, &guard.sight()), Reason::Clean);
    daemon.describe(contained, &description(4)).unwrap();
    assert!(guard.sight().storage, "a service may become one while it runs");
}

#[test]
fn a_watchdog_is_asked_for_once_and_answered_once() {
    use std::time::Duration;

    use crate::watchdog::{PATH_MAX, Step, WatchdogError};
    let (guard, mut daemon) = pair();
    let ten = Duration::from_secs(10);
    let longest = "/".repeat(PATH_MAX);
    assert_eq!(WatchdogRequest::new(&"/".repeat(PATH_MAX + 1), ten, ten), None);
    assert_eq!(WatchdogRequest::new("", ten, ten), None);
    assert_eq!((guard.watchdog_request(), daemon.watchdog()), (None, WatchdogStatus::default()));

    let request = WatchdogRequest::new(&longest, ten, Duration::from_secs(3)).unwrap();
    assert!(daemon.arm_watchdog(&request) && guard.bell().take() && daemon.watchdog().asked);
    assert!(!daemon.arm_watchdog(&request), "one at a time");
    let seen = guard.watchdog_request().unwrap();
    assert_eq!(seen.device().to_str(), Ok(longest.as_str()));
    assert_eq!((seen.number, seen.timeout, seen.least), (1, ten, Duration::from_secs(3)));
    let refused = WatchdogError { step: Step::Open, errno: libc::EBUSY };
    guard.set_watchdog_error(refused);
    guard.answer_watchdog(seen.number);
    assert_eq!(guard.watchdog_request(), None);
    let status = WatchdogStatus { error: Some(refused), ..WatchdogStatus::default() };
    assert_eq!(daemon.watchdog(), status);

    let short = WatchdogError { step: Step::TooShort, errno: 0 };
    guard.set_watchdog_held(short, Duration::from_secs(2));
    let held = Some(Duration::from_secs(2));
    let status = WatchdogStatus { error: Some(short), held, ..WatchdogStatus::default() };
    assert_eq!((daemon.watchdog(), daemon.watchdog_timeout()), (status, None));

    assert!(daemon.arm_watchdog(&request));
    let seen = guard.watchdog_request().unwrap();
    guard.set_watchdog_armed(&seen, Duration::from_secs(12), false);
    guard.set_watchdog_fed(SOON);
    guard.answer_watchdog(seen.number);
    guard.set_watchdog_feed_error(WatchdogError { step: Step::Feed, errno: libc::EIO });
    guard.set_watchdog_late(1);
    assert_eq!(daemon.watchdog_timeout(), Some(Duration::from_secs(12)));
    let status = WatchdogStatus {
        device: Some(longest),
        timeout: Some(Duration::from_secs(12)),
        fed: Some(SOON),
        feed_error: Some(WatchdogError { step: Step::Feed, errno: libc::EIO }),
        late: 1,
        ..WatchdogStatus::default()
    };
    assert_eq!(daemon.watchdog(), status);
}

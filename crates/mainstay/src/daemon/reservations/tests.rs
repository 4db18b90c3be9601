//! Two nodes and a disk that does what SPC-4 says of registrants-only reservations: who may write when.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use engine::ResourceKind;
use os::process::Containment;
use os::reservation::{Key, Kind, State};

use super::super::records::Records;
use super::super::writers::Desk;
use super::super::writers::question;
use super::super::writers::run::{Fault, Inbox};
use super::Reservation;
use super::left::{Left, judge};
use super::steps::{Call, Keys, Step, call, give_back, is_free, is_held, lost, take};

const CLUSTER: u32 = 10;
/// An asker whose disk answers when there is a file `answers` beside it. It leaves its process group first,
/// so the signals that should end it do not reach it: as if it waited in the kernel.
const SILENT: &str = r#"#!/usr/bin/perl
setpgrp(0, getpgrp(getppid())) or die;
my ($directory) = $0 =~ m{^(.*)/};
open(my $asked, '>>', "$directory/asked") or die;
syswrite($asked, "@ARGV\n");
for (1 .. 6000) {
    last if -e "$directory/answers";
    select(undef, undef, undef, 0.01);
}
"#;
/// Longer than any machine needs.
const LONG: Duration = Duration::from_secs(60);

fn keys(node: u8) -> Keys {
    let names = BTreeMap::from([(1, "n1".to_owned()), (2, "n2".to_owned())]);
    Keys { own: Key::of_node(CLUSTER, node), names }
}

/// The disk: each machine's key, and which of them has the reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Disk {
    registered: BTreeMap<u8, Key>,
    held: Option<(u8, Kind)>,
}

impl Disk {
    fn state(&self) -> State {
        let mut keys: Vec<Key> = self.registered.values().copied().collect();
        keys.sort_unstable();
        State { keys, held: self.held.map(|(node, kind)| (self.registered[&node], kind)) }
    }

    fn may_write(&self, node: u8) -> bool {
        self.held.is_none() || self.registered.contains_key(&node)
    }

    /// What the disk makes of a call of that machine, as it comes through `os::reservation` and the kernel's
    /// `pr_ops`; false: it refuses, and nothing has changed.
    fn does(&mut self, node: u8, own: Key, step: &Step) -> bool {
        let Call { word, keys, kind } = call(step, own);
        let registered = self.registered.get(&node).copied();
        match (word, &keys[..]) {
            // REGISTER AND IGNORE EXISTING KEY (`PR_FL_IGNORE_KEY`): whatever stands there.
            ("register", [key]) => drop(self.registered.insert(node, *key)),
            // All others name the key of the machine, and it must stand there (SPC-4, 5.14.4).
            (_, [key, ..]) if registered != Some(*key) => return false,
            // The reservation is the machine's, whatever its key.
            ("replace", [_, new]) => drop(self.registered.insert(node, *new)),
            // Of registrants-only reservations the holder takes its own with it (5.14.11.3).
            ("unregister", [_]) => {
                self.registered.remove(&node);
                self.held = self.held.filter(|(holder, _)| *holder != node);
            }
            // The same once more is fine; another kind is a conflict, also for the holder (5.14.9).
            ("reserve", [_]) => match self.held {
                None => self.held = Some((node, Kind::WriteExclusive)),
                held => return held == Some((node, Kind::WriteExclusive)),
            },
            // Nothing happens to the reservation of somebody else; the own one must be of that kind
            // (5.14.11.2).
            ("release", [_]) => match self.held {
                Some((holder, held)) if holder == node && Some(held) != kind => return false,
                Some((holder, _)) if holder == node => self.held = None,
                _ => {}
            },
            // A key that nobody has is a conflict (5.14.11.4).
            ("preempt", [_, other]) => {
                let gone: BTreeSet<u8> = (self.registered.iter())
                    .filter(|(_, key)| *key == other)
                    .map(|(node, _)| *node)
                    .collect();
                if gone.is_empty() {
                    return false;
                }
                if self.held.is_some_and(|(holder, _)| gone.contains(&holder)) {
                    self.held = Some((node, Kind::WriteExclusive));
                }
                self.registered.retain(|other, _| !gone.contains(other));
            }
            _ => panic!("no such call: {word} {keys:?}"),
        }
        true
    }

    /// Goes through a whole start; whether the disk was nobody's.
    fn start(&mut self, node: u8) -> Result<bool, String> {
        let was_free = is_free(&self.state());
        for _ in 0..20 {
            match take(&self.state(), &keys(node)) {
                Step::Done => return Ok(was_free),
                Step::Refused(why) => return Err(why),
                step => assert!(self.does(node, keys(node).own, &step), "{step:?} of {self:?}"),
            }
        }
        panic!("it does not come to rest: {self:?}");
    }

    fn stop(&mut self, node: u8, was_free: bool) {
        for _ in 0..20 {
            match give_back(&self.state(), keys(node).own, was_free) {
                Step::Done => return,
                step => assert!(self.does(node, keys(node).own, &step), "{step:?} of {self:?}"),
            }
        }
        panic!("it does not come to rest: {self:?}");
    }
}

#[test]
fn an_orderly_move_leaves_the_disk_to_nobody_and_then_to_the_next() {
    let mut disk = Disk::default();
    assert_eq!(disk.start(1), Ok(true));
    assert!(disk.may_write(1) && !disk.may_write(2));
    disk.stop(1, true);
    assert!(is_free(&disk.state()), "{disk:?}");
    assert_eq!(disk.start(2), Ok(true));
    assert!(disk.may_write(2) && !disk.may_write(1));
}

#[test]
fn whoever_lost_the_disk_never_writes_again_not_even_when_the_next_owner_has_stopped() {
    let mut disk = Disk::default();
    assert_eq!(disk.start(1), Ok(true));
    // n1 stands still, its file system mounted.
    let was_free = disk.start(2).expect("n1's key is taken away");
    assert!(!was_free && !disk.may_write(1), "{disk:?}");
    let said = lost(&disk.state(), &keys(1)).expect("it is lost");
    assert_eq!(said, "is lost: n2 has it (0x6d730000000a0003)");
    assert!(is_held(&disk.state(), &keys(2)));
    disk.stop(2, was_free);
    assert!(!disk.may_write(1), "{disk:?}");
    assert!(!is_held(&disk.state(), &keys(2)), "it is kept and not used");
    // Neither on the same node nor on another is it nobody's by then.
    let mut again = disk.clone();
    assert_eq!(again.start(2), Ok(false));
    assert_eq!(again.registered.len(), 1, "{again:?}");
    assert!(!again.may_write(1));
    // n1 gets it back by a start of its own, which comes when nothing of the service is left there.
    assert_eq!(disk.start(1), Ok(false));
    assert!(!disk.may_write(2) && disk.may_write(1), "{disk:?}");
    // Its own key is gone: nothing to be given back.
    disk.stop(2, false);
    assert!(is_held(&disk.state(), &keys(1)));
}

#[test]
fn a_start_that_slept_for_long_takes_no_disk_from_the_owner_of_today_unseen() {
    let mut disk = Disk::default();
    assert_eq!(disk.start(1), Ok(true));
    // n2 has registered, and looked; then it stands still while n1 stops, and starts anew.
    assert!(disk.does(2, keys(2).own, &Step::Register { former: None }));
    let seen = take(&disk.state(), &keys(2));
    assert_eq!(seen, Step::Preempt(keys(1).own));
    disk.stop(1, true);
    assert_eq!(disk.start(1), Ok(false), "n2's key stands there");
    assert!(!disk.does(2, keys(2).own, &seen), "it is registered no more");
    assert!(is_held(&disk.state(), &keys(1)) && !disk.may_write(2));
}

#[test]
fn whoever_was_pre_empted_is_refused_all_that_does_not_begin_anew() {
    let mut disk = Disk::default();
    let own = keys(1).own;
    // In use, and kept under the other key.
    for is_parked in [false, true] {
        assert!(disk.start(1).is_ok());
        if is_parked {
            disk.stop(1, false);
        }
        assert!(disk.start(2).is_ok());
        let late = [
            Step::Register { former: Some(own.parked()) },
            Step::Preempt(keys(2).own),
            Step::Reserve,
            Step::Release(Kind::WriteExclusive),
            Step::Unregister,
            Step::Park,
        ];
        let before = disk.clone();
        for step in late {
            assert!(!disk.does(1, own, &step), "{step:?}");
            assert_eq!(disk, before, "{step:?}");
        }
    }
}

#[test]
fn a_reservation_of_another_kind_goes_by_its_own_name_alone() {
    let own = keys(1).own;
    let mut disk = Disk::default();
    assert!(disk.does(1, own, &Step::Register { former: None }));
    disk.held = Some((1, Kind::ExclusiveAccess));
    assert!(!disk.does(1, own, &Step::Reserve), "there is one");
    assert!(!disk.does(1, own, &Step::Release(Kind::WriteExclusive)), "there is none of that kind");
    assert_eq!(disk.start(1), Ok(false));
    assert_eq!(disk.held, Some((1, Kind::WriteExclusive)));
    assert!(disk.does(1, own, &Step::Reserve), "once more");
}

#[test]
fn a_foreign_key_is_left_alone_and_another_kind_of_reservation_is_mended() {
    let stranger = Key::of_node(CLUSTER + 1, 7);
    let state = State { keys: vec![stranger], held: Some((stranger, Kind::WriteExclusive)) };
    let Step::Refused(why) = take(&state, &keys(1)) else { panic!("it is somebody's") };
    assert!(why.starts_with("node 7 of cluster 11 has registered with it (0x6d73"), "{why}");
    let own = keys(1).own;
    let state = State { keys: vec![own], held: Some((own, Kind::ExclusiveAccess)) };
    assert_eq!(take(&state, &keys(1)), Step::Release(Kind::ExclusiveAccess));
    assert!(lost(&state, &keys(1)).is_some());
    let cleared = State { keys: Vec::new(), held: None };
    let said = lost(&cleared, &keys(1)).expect("it is nobody's");
    assert!(said.contains("somebody has cleared it"), "{said}");
    // Of several paths to one disk each has the key.
    let state = State { keys: vec![own, own], held: Some((own, Kind::WriteExclusive)) };
    assert_eq!(take(&state, &keys(1)), Step::Done);
}

#[test]
fn what_a_former_life_left_is_held_only_when_all_disks_say_so() {
    assert_eq!(judge(&[Some(true), Some(true)]), Left::Held);
    assert_eq!(judge(&[Some(false), Some(false)]), Left::Nothing);
    for unclear in [&[Some(true), Some(false)][..], &[Some(true), None], &[None]] {
        assert!(matches!(judge(unclear), Left::Unknown(_)), "{unclear:?}");
    }
}

#[test]
fn what_a_disk_says_comes_through_another_process() {
    let own = Key::of_node(CLUSTER, 1);
    let said = format!("key {own}\nkey {}\nheld {own} 0x3\n", own.parked());
    let state = question::state(&said).expect("it can be read");
    assert_eq!(state.keys, [own, own.parked()]);
    assert_eq!(state.held, Some((own, Kind::WriteExclusive)));
    assert_eq!(question::state("").map(|state| is_free(&state)), Some(true));
    assert_eq!(question::state("key 0x0\n"), None);
    assert_eq!(question::state("key 0x1"), question::state("key 0x1\n"));
}

#[test]
fn a_disk_that_never_answers_is_asked_once_until_it_does() {
    let root = tempfile::tempdir().expect("a directory");
    let asker = root.path().join("asker");
    crate::testing::write_program(&asker, SILENT);
    let asked = root.path().join("asked");
    let times = || fs::read_to_string(&asked).map_or(0, |asked| asked.lines().count());
    let (done, _reports) = os::event::queue(8).expect("a queue");
    let records = Records::new(&crate::config::files::Root::new(root.path()));
    let containment = Containment::Marked { tree: "nobody".to_owned(), refusal: 0 };
    let names = ("db".to_owned(), "disk".to_owned());
    let desk = Desk::new(asker.clone(), records, containment, done, names);
    let disk = Path::new("/dev/silent");
    let kind = ResourceKind::Reservation { disks: vec!["/dev/silent".to_owned()] };
    let mut reservation = Reservation::new(desk, keys(1), &kind);

    // The first question is given up when it is out for sure.
    let (jobs, inbox) = channel();
    let mut inbox = Inbox::new(inbox);
    let end = os::clock::boottime() + LONG;
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while times() == 0 && os::clock::boottime() < end {
                std::thread::yield_now();
            }
            drop(jobs);
        });
        reservation.state(disk, end, &mut inbox)
    });
    assert!(matches!(outcome, Err(Fault::Interrupted)), "{outcome:?}");
    assert_eq!(times(), 1);

    let (_jobs, inbox) = channel();
    let mut inbox = Inbox::new(inbox);
    for _ in 0..5 {
        let outcome = reservation.state(disk, os::clock::boottime(), &mut inbox);
        let Err(Fault::Said(why)) = outcome else { panic!("it is silent: {outcome:?}") };
        assert!(why.starts_with("/dev/silent has not answered for "), "{why}");
        let now = os::clock::boottime();
        let changed = reservation.change(disk, &Step::Unregister, None, now, &mut inbox);
        assert!(matches!(changed, Err(Fault::Said(_))), "{changed:?}");
    }
    assert_eq!(times(), 1, "nobody asks beside the question that is out");

    fs::write(root.path().join("answers"), "").expect("room");
    let end = os::clock::boottime() + LONG;
    let state = reservation.state(disk, end, &mut inbox).expect("it answers again");
    assert!(is_free(&state), "{state:?}");
    assert_eq!(
        fs::read_to_string(&asked).expect("asked"),
        "ask-storage reservation /dev/silent\n".repeat(2)
    );
}

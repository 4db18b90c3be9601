//! Clocks, loops, locks, credentials, the real-time class.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use os::event::{Bell, Events, Interest, Poll, SendError, Timer, Token, queue};
use os::lock::{Heir, Lock, LockError};

use crate::scene::wait_for;

fn ready(poll: &Poll, timeout: Option<Duration>) -> Vec<Token> {
    let mut events = Events::with_capacity(8);
    poll.wait(&mut events, timeout).unwrap();
    events.iter().map(|ready| ready.token).collect()
}

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);

#[test]
fn time_goes_on_and_randomness_is_random() {
    let first = os::clock::boottime();
    let second = os::clock::boottime();
    assert!(second >= first && first.as_nanos() > 0);
    assert!(os::clock::wall_millis() > 1_600_000_000_000, "the wall clock was never set");
    let (mut one, mut two) = ([0; 32], [0; 32]);
    os::clock::random(&mut one);
    os::clock::random(&mut two);
    assert_ne!(one, two);
    assert_ne!(one, [0; 32]);
}

#[test]
fn a_timer_fires_once_for_a_moment_that_is_over_and_not_before_one_that_is_not() {
    let poll = Poll::new().unwrap();
    let timer = Timer::new().unwrap();
    poll.add(&timer, Token(5), Interest::Read).unwrap();
    assert!(ready(&poll, NO_WAIT).is_empty());
    timer.set(Some(base::Instant::ZERO));
    assert_eq!(ready(&poll, None), [Token(5)]);
    assert!(timer.take());
    assert!(!timer.take());
    assert!(ready(&poll, NO_WAIT).is_empty());
    let moment = os::clock::boottime() + Duration::from_millis(30);
    timer.set(Some(moment));
    assert_eq!(ready(&poll, None), [Token(5)]);
    assert!(os::clock::boottime() >= moment);
    timer.set(Some(base::Instant::FAR));
    assert!(ready(&poll, NO_WAIT).is_empty(), "setting it anew takes back what had fired");
    timer.set(Some(base::Instant::ZERO));
    timer.set(None);
    assert!(ready(&poll, NO_WAIT).is_empty());
}

#[test]
fn a_queue_is_bounded_and_wakes_its_loop() {
    let poll = Poll::new().unwrap();
    let (sender, receiver) = queue(2).unwrap();
    poll.add(&receiver, Token(1), Interest::Read).unwrap();
    assert!(ready(&poll, NO_WAIT).is_empty());
    sender.send(1).unwrap();
    sender.clone().send(2).unwrap();
    assert!(matches!(sender.send(3), Err(SendError::Full(3))));
    assert_eq!(ready(&poll, NO_WAIT), [Token(1)]);
    receiver.silence();
    assert_eq!(receiver.take(), Some(1));
    assert!(ready(&poll, NO_WAIT).is_empty());
    receiver.ring();
    assert_eq!(ready(&poll, NO_WAIT), [Token(1)], "what a turn left over wakes the next");
    assert_eq!((receiver.take(), receiver.take()), (Some(2), None));
    drop(receiver);
    assert!(matches!(sender.send(4), Err(SendError::Closed(4))));
}

#[test]
fn a_loop_sleeps_until_another_thread_sends() {
    let poll = Poll::new().unwrap();
    let (sender, receiver) = queue(1).unwrap();
    poll.add(&receiver, Token(1), Interest::Read).unwrap();
    let (back, answers) = queue::<u32>(1).unwrap();
    let worker = std::thread::spawn(move || {
        sender.send(7).unwrap();
        answers.wait()
    });
    assert_eq!(ready(&poll, None), [Token(1)]);
    assert_eq!(receiver.take(), Some(7));
    back.send(8).unwrap();
    assert_eq!(worker.join().unwrap(), Some(8));
}

#[test]
fn a_bell_counts_as_one_however_often_it_is_rung() {
    let bell = Bell::new().unwrap();
    assert!(!bell.take());
    bell.ring();
    bell.clone().ring();
    assert!(bell.take());
    assert!(!bell.take());
}

#[test]
fn a_lock_has_one_holder_and_says_who() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let lock = Lock::take(&path, "the first").unwrap();
    let error = Lock::take(&path, "the second").unwrap_err();
    assert!(matches!(&error, LockError::Held { holder, .. } if holder == "the first"), "{error}");
    drop(lock);
    // A child that another test has forked holds it until its own execve(2).
    let mut lock = wait_for("the lock", || match Lock::take(&path, "the third") {
        Err(LockError::Held { .. }) => None,
        taken => Some(taken.unwrap()),
    });
    lock.describe("renamed").unwrap();
    let error = Lock::take(&path, "the fourth").unwrap_err();
    assert!(error.to_string().ends_with("held by renamed"), "{error}");
    assert!(matches!(error, LockError::Held { daemon: None, .. }), "{error:?}");
    for pid in [12, 3] {
        lock.hand_over(Heir { pid, started: 77, guard: 11 }).unwrap();
        let error = Lock::take(&path, "the fifth").unwrap_err();
        assert!(error.to_string().ends_with("held by renamed"), "{error}");
        let LockError::Held { daemon: Some(heir), .. } = error else { panic!("{error:?}") };
        assert_eq!(heir, Heir { pid, started: 77, guard: 11 });
    }
    assert!(matches!(
        Lock::take(&directory.path().join("no/such"), "x"),
        Err(LockError::Io { operation: "open", .. })
    ));
}

#[test]
fn the_kernel_says_who_connected() {
    let (left, _right) = UnixStream::pair().unwrap();
    let peer = os::credential::Credentials::of(&left).unwrap();
    assert_eq!(peer.pid, std::process::id());
    assert_eq!(peer.user, rustix::process::getuid().as_raw());
    assert_eq!(peer.group, rustix::process::getgid().as_raw());
    let other = os::credential::Credentials { user: 5, group: 6, groups: vec![7, 8], ..peer };
    assert!(other.is_root_or_in(Some(6)) && other.is_root_or_in(Some(8)));
    assert!(!other.is_root_or_in(Some(5)) && !other.is_root_or_in(None));
    assert_eq!(os::credential::group_number("root").unwrap(), Some(0));
    assert_eq!(os::credential::group_number("no such group").unwrap(), None);
    assert_eq!(os::credential::group_number("a\0b").unwrap(), None);
    assert!(
        os::credential::Credentials::of(std::net::UdpSocket::bind("[::1]:0").unwrap()).is_err()
    );
}

#[test]
fn the_real_time_class_ends_with_the_thread() {
    match os::realtime::round_robin(1) {
        Ok(()) => {
            assert!(os::realtime::is_real_time());
            let child = std::thread::spawn(os::realtime::is_real_time).join().unwrap();
            assert!(!child, "a thread started by a real-time thread is ordinary");
        }
        Err(refused) => {
            println!("skipped: {}", refused.reason);
            assert!(!os::realtime::is_real_time());
        }
    }
}

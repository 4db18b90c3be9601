//! Storage services, and the watchdog as far as there is none on this machine: errors.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use base::Instant;
use os::shared::{DaemonSide, WatchdogRequest};
use rustix::process as unix;

use super::{Place, Scene, has, note, signal, wait_for};

/// The daemon: asks for the device that the test names, and notes the answer.
pub(super) fn ask(directory: &Path, shared: &mut DaemonSide) {
    let Ok(device) = fs::read_to_string(directory.join("device")) else { return };
    let timeout = Duration::from_secs(10);
    let request = WatchdogRequest::new(&device, timeout, Duration::ZERO).unwrap();
    // It has looked what is here.
    shared.set_evidence(Instant::ZERO, timeout);
    assert!(shared.arm_watchdog(&request));
    wait_for("an answer about the watchdog", || (!shared.watchdog().asked).then_some(()));
    let status = shared.watchdog();
    assert_eq!((status.timeout, status.fed), (None, None));
    let error = status.error.expect("it is none");
    note(directory, &format!("watchdog step={:?} errno={}", error.step, error.errno));
}

pub(super) fn tests() {
    no_watchdog_is_refused();
    no_goodbye_for_storage();
}

/// What is no watchdog is refused, said once, and leaves nothing behind; the daemon goes on.
fn no_watchdog_is_refused() {
    for (device, step, errno) in [("/dev/null", "Ask", 25), ("/nowhere", "Find", 2)] {
        let mut scene = Scene::new(Place::Here, &[("device", device)]);
        let answer = scene.line("watchdog", 1);
        assert_eq!((answer.text("step"), answer.number("errno")), (step, errno));
        assert!(!has(scene.path(), "watchdog"), "the record of an armed watchdog");
        assert_eq!(scene.log().matches(&format!("watchdog {device}: ")).count(), 1);
        signal(unix::Signal::TERM, scene.guard.id());
        assert_eq!(scene.wait_guard(), 0, "{}", scene.log());
    }
}

/// The daemon dies for good with a storage service that has not confirmed its stop: its processes are
/// ended like others, and no goodbye says that it is over, because its file system may be mounted.
fn no_goodbye_for_storage() {
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_nonblocking(true).unwrap();
    let port = peer.local_addr().unwrap().port().to_string();
    let files = [("crash", ""), ("port", port.as_str()), ("storage", "")];
    let mut scene = Scene::new(Place::Here, &files);
    // The pauses before the later starts are long enough for a goodbye.
    assert!(scene.line("start", 7).number("restarts") >= 6);
    wait_for("the end of the service", || scene.pids().is_empty().then_some(()));
    signal(unix::Signal::TERM, scene.guard.id());
    assert_eq!(scene.wait_guard(), 2, "something may be left\n{}", scene.log());
    let mut frame = [0_u8; 100];
    let heard = peer.recv_from(&mut frame).expect_err("a goodbye was said");
    assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!scene.log().contains("said goodbye"), "{}", scene.log());
}

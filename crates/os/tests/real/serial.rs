//! A serial port, played by a pseudoterminal: the test holds the other end.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use os::event::{Events, Interest, Poll, Token};
use os::serial::{BAUD_MAX, BAUD_MIN, Tty, WAITING_MAX};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    ControlModes, LocalModes, Termios, ioctl_tiocexcl, ioctl_tiocnxcl, tcgetattr,
};

use crate::scene::wait_for;

/// The far end of a line, and the path of the near one.
fn line() -> (OwnedFd, PathBuf) {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&far).unwrap();
    unlockpt(&far).unwrap();
    rustix::io::ioctl_fionbio(&far, true).unwrap();
    let path = PathBuf::from(ptsname(&far, Vec::new()).unwrap().into_string().unwrap());
    (far, path)
}

/// Another program that opens the port.
fn plain(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn far_end_takes(far: &OwnedFd, count: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    let mut buffer = [0; 4_096];
    wait_for("bytes at the far end", || {
        while let Ok(length) = rustix::io::read(far, &mut buffer) {
            taken.extend(&buffer[..length]);
        }
        (taken.len() >= count).then_some(())
    });
    taken
}

fn takes(tty: &mut Tty, count: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    let mut buffer = [0; 100];
    wait_for("bytes", || {
        let length = tty.read(&mut buffer).unwrap();
        taken.extend(&buffer[..length]);
        (taken.len() >= count).then_some(())
    });
    taken
}

fn settings(fd: impl AsFd) -> (String, u32) {
    let termios: Termios = tcgetattr(fd).unwrap();
    (format!("{termios:?}"), termios.output_speed())
}

#[test]
fn every_byte_passes_unchanged_both_ways() {
    let (far, path) = line();
    let mut tty = Tty::open(&path, 115_200, false).unwrap();
    assert_eq!(tty.path(), path);
    let mut buffer = [0; 8];
    assert_eq!(tty.read(&mut buffer).unwrap(), 0, "nothing there is no error");
    // Among them: interrupt, end of file, carriage return, newline, start and stop, erase.
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(tty.room().unwrap(), WAITING_MAX);
    assert_eq!(tty.write(&all).unwrap(), 256);
    assert_eq!(far_end_takes(&far, 256), all);
    assert_eq!(rustix::io::write(&far, &all).unwrap(), 256);
    assert_eq!(takes(&mut tty, 256), all);
    assert!(rustix::io::read(&far, &mut buffer).is_err(), "and nothing is echoed");
}

#[test]
fn any_speed_is_set_and_the_former_settings_return() {
    let (_far, path) = line();
    let other = plain(&path);
    let former = settings(&other);
    for baud in [BAUD_MIN, 9_600, 31_250, 123_457, 115_200, 1_000_000, BAUD_MAX] {
        let tty = Tty::open(&path, baud, baud == 9_600).unwrap();
        let now = tcgetattr(&tty).unwrap();
        assert_eq!((now.output_speed(), now.input_speed()), (baud, baud));
        let modes = now.control_modes;
        assert_eq!(modes.contains(ControlModes::CRTSCTS), baud == 9_600);
        assert!(modes.contains(ControlModes::CLOCAL | ControlModes::CREAD | ControlModes::CS8));
        assert!(!modes.intersects(ControlModes::PARENB | ControlModes::CSTOPB));
        assert!(!now.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO));
        assert!(!now.local_modes.intersects(LocalModes::ISIG | LocalModes::IEXTEN));
        assert_ne!(settings(&other), former);
        drop(tty);
        assert_eq!(settings(&other), former);
    }
    for baud in [0, BAUD_MIN - 1, BAUD_MAX + 1] {
        let error = Tty::open(&path, baud, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let expected =
            format!("{}: a speed of {baud} baud is outside 300 to 4000000", path.display());
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(settings(&other), former, "a refused open changes nothing");
}

#[test]
fn one_program_at_a_time() {
    let (_far, path) = line();
    let busy = || {
        let error = Tty::open(&path, 9_600, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        let expected = format!("{}: is in use by another program: end it", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    };
    let tty = Tty::open(&path, 9_600, false).unwrap();
    let during = settings(&tty);
    busy();
    assert_eq!(settings(&tty), during, "the second one disturbs nothing");
    drop(tty);
    // Others have two ways to say so.
    let other = plain(&path);
    flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    busy();
    flock(&other, FlockOperation::Unlock).unwrap();
    ioctl_tiocexcl(&other).unwrap();
    // For everybody but root the kernel itself refuses; both are this sentence.
    busy();
    ioctl_tiocnxcl(&other).unwrap();
    let tty = Tty::open(&path, 9_600, false).unwrap();
    // A child that was forked has a copy until its own execve(2); the port is free all the same.
    let copy = rustix::io::dup(&tty).unwrap();
    drop(tty);
    drop(Tty::open(&path, 9_600, false).unwrap());
    drop(copy);
}

#[test]
fn what_is_no_serial_port_is_refused_with_a_sentence() {
    let refused = |path: &Path| {
        let error = Tty::open(path, 9_600, false).unwrap_err();
        let text = error.to_string();
        let start = format!("{}: ", path.display());
        (error.kind(), text.strip_prefix(&start).expect("the device is named").to_owned())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"unharmed").unwrap();
    let no_terminal = "not a terminal: name a serial port, for example /dev/ttyS0".to_owned();
    for path in [Path::new("/dev/null"), &file, folder.path()] {
        assert_eq!(refused(path), (ErrorKind::InvalidInput, no_terminal.clone()));
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"unharmed");
    let no_device = "no such device: plug the adapter in, or correct the path".to_owned();
    assert_eq!(refused(&folder.path().join("none")), (ErrorKind::NotFound, no_device));
}

#[test]
fn old_bytes_are_thrown_away() {
    let (far, path) = line();
    let other = plain(&path);
    rustix::io::write(&far, b"typed\nbefore").unwrap();
    let mut tty = Tty::open(&path, 115_200, false).unwrap();
    drop(other);
    rustix::io::write(&far, b"new").unwrap();
    assert_eq!(takes(&mut tty, 3), b"new");
}

#[test]
fn nobody_reading_stops_the_writer_and_not_the_loop() {
    let (far, path) = line();
    let mut tty = Tty::open(&path, 115_200, false).unwrap();
    let poll = Poll::new().unwrap();
    poll.add(&tty, Token(1), Interest::ReadWrite).unwrap();
    let is_writable = || {
        let mut events = Events::with_capacity(1);
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().any(|ready| ready.writable)
    };
    let chunk: Vec<u8> = (0..1_000_u32).map(|number| number as u8).collect();
    let mut sent = Vec::new();
    assert!(is_writable());
    loop {
        let count = tty.write(&chunk).unwrap();
        assert!(count <= WAITING_MAX);
        sent.extend(&chunk[..count]);
        assert!(sent.len() < 1 << 20, "a line that nobody reads fills up");
        if count == 0 {
            break;
        }
    }
    assert!(!is_writable());
    assert_eq!(far_end_takes(&far, sent.len()), sent);
    wait_for("room", || is_writable().then_some(()));
    assert_eq!(tty.write(b"and on").unwrap(), 6);
    assert_eq!(far_end_takes(&far, 6), b"and on");
    // Full again, and dropped: closing does not wait for a reader.
    while tty.write(&chunk).unwrap() > 0 {}
}

#[test]
fn an_unplugged_line_is_an_error_and_can_be_opened_again() {
    let (far, path) = line();
    let mut tty = Tty::open(&path, 115_200, false).unwrap();
    let poll = Poll::new().unwrap();
    poll.add(&tty, Token(1), Interest::Read).unwrap();
    drop(far);
    let mut events = Events::with_capacity(1);
    poll.wait(&mut events, None).unwrap();
    assert!(events.iter().any(|ready| ready.readable), "the loop is woken");
    let expected = format!(
        "{}: was unplugged or hung up: it can be opened again when it is back",
        path.display()
    );
    for error in [
        tty.read(&mut [0; 10]).unwrap_err(),
        tty.write(b"anybody?").unwrap_err(),
        tty.room().unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::NotConnected, expected.clone()));
    }
    drop(tty);
    // The number of a pseudoterminal that is gone is anybody's, so the next one has its own path.
    let (far, path) = line();
    let mut tty = Tty::open(&path, 115_200, false).unwrap();
    rustix::io::write(&far, b"again").unwrap();
    assert_eq!(takes(&mut tty, 5), b"again");
}

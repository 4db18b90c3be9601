//! What may wait for a device, in a process that can be left behind: `mainstay ask-storage …`.
//!
//! | words | does | exit code |
//! |---|---|---|
//! | `users DIRECTORY` | prints each who uses the file system there as it is found: number, start, name, use; with tabs. Of who cannot be looked at the number only | 0 |
//! | `free DEVICE` | whether the kernel has given up the device | 0 yes, [`NO`] no, [`ABSENT`] none there |
//! | `answers DEVICE` | reads its first block past every cache | 0 yes, [`NO`] no |
//! | `reservation DISK` | prints the registered keys, and the reservation with its kind | 0 |
//! | `register DISK KEY`, `replace DISK FORMER KEY`, `unregister DISK KEY` | changes this machine's registration | 0 |
//! | `reserve DISK KEY`, `release DISK KEY KIND`, `preempt DISK KEY OTHER` | changes the reservation | 0 |
//!
//! Keys and kinds are hexadecimal numbers.
//!
//! Anything else that goes wrong is said on standard error, with code [`FAILED`].

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use base::Instant;
use os::mount::{Found, User};
use os::reservation::{Disk, Key, Kind, State};

/// The name of the hidden command.
pub const COMMAND: &str = "ask-storage";
/// The answer is no.
pub const NO: i32 = 10;
/// Behind the node there is no device, or no medium in it.
pub const ABSENT: i32 = 12;
/// There is no answer.
pub const FAILED: i32 = 11;
/// Between two looks whether there is an answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Does one thing; returns the exit code.
#[must_use]
pub fn main(word: &str, path: &Path, numbers: &[String]) -> i32 {
    let answer = match word {
        "users" => os::mount::users(path, |found| match found {
            Found::User(User { pid, started, name, how }) => {
                let (name, how) = (name.replace(['\t', '\n'], " "), how.replace(['\t', '\n'], " "));
                println!("{pid}\t{started}\t{name}\t{how}");
            }
            Found::Silent(pid) => println!("{pid}"),
        })
        .map(|()| 0),
        "free" => match os::mount::is_free(path) {
            Ok(free) => Ok(if free { 0 } else { NO }),
            Err(error) if is_absent(&error) => {
                eprintln!("{}: {error}", path.display());
                Ok(ABSENT)
            }
            Err(error) => Err(error),
        },
        "answers" => match os::mount::answers(path) {
            Ok(()) => Ok(0),
            Err(error) => {
                eprintln!("{error}");
                Ok(NO)
            }
        },
        _ => return reservation(word, path, numbers),
    };
    answer.unwrap_or_else(|error| {
        eprintln!("{}: {error}", path.display());
        FAILED
    })
}

/// What is about the keys of a disk; its errors name it.
fn reservation(word: &str, path: &Path, numbers: &[String]) -> i32 {
    let numbers: Option<Vec<u64>> = numbers.iter().map(|number| hexadecimal(number)).collect();
    let numbers = numbers.unwrap_or_default();
    let keys: Vec<Key> = numbers.iter().copied().filter_map(Key::new).collect();
    let kind = Kind::WriteExclusive;
    let done = match (word, &keys[..]) {
        ("reservation", []) => Disk::look(path).and_then(|disk| disk.state()).map(|state| {
            for key in state.keys {
                println!("key {key}");
            }
            if let Some((key, kind)) = state.held {
                println!("held {key} 0x{:x}", kind.number());
            }
        }),
        ("register", [key]) => Disk::open(path).and_then(|disk| disk.register(*key)),
        ("replace", [former, key]) => Disk::open(path).and_then(|disk| disk.replace(*former, *key)),
        ("unregister", [key]) => Disk::open(path).and_then(|disk| disk.unregister(*key)),
        ("reserve", [key]) => Disk::open(path).and_then(|disk| disk.reserve(*key, kind)),
        ("preempt", [key, other]) => {
            Disk::open(path).and_then(|disk| disk.preempt(*key, *other, kind))
        }
        ("release", [key, _]) => {
            let kind = Kind::of(u32::try_from(numbers[1]).unwrap_or_default());
            Disk::open(path).and_then(|disk| disk.release(*key, kind))
        }
        _ => {
            eprintln!("there is no {word} with these numbers");
            return FAILED;
        }
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            FAILED
        }
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// What `reservation` has printed.
pub(in crate::daemon) fn state(output: &str) -> Option<State> {
    let mut state = State { keys: Vec::new(), held: None };
    for line in output.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["key", key] => state.keys.push(Key::new(hexadecimal(key)?)?),
            ["held", key, kind] => {
                let kind = u32::try_from(hexadecimal(kind)?).ok()?;
                state.held = Some((Key::new(hexadecimal(key)?)?, Kind::of(kind)));
            }
            _ => return None,
        }
    }
    Some(state)
}

/// ENXIO, ENODEV, ENOMEDIUM (errno(3)).
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(6 | 19 | 123))
}

/// A line that `users` has printed.
pub(in crate::daemon) fn user(line: &str) -> Option<Found> {
    let fields: Vec<&str> = line.splitn(4, '\t').collect();
    match fields[..] {
        [pid] => pid.parse().ok().map(Found::Silent),
        [pid, started, name, how] => Some(Found::User(User {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
            name: name.to_owned(),
            how: how.to_owned(),
        })),
        _ => None,
    }
}

/// The program with a question.
pub(in crate::daemon) fn ask(program: &Path, word: &str, path: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(COMMAND).arg(word).arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How what was asked has ended, and what it has printed, if it does that in time.
///
/// # Errors
/// When the kernel does not say, or there is no thread to wait for what hangs.
pub(in crate::daemon) fn answer(
    mut child: Child,
    until: Instant,
) -> std::io::Result<Option<(ExitStatus, String)>> {
    let (_nothing, never) = std::sync::mpsc::channel::<()>();
    loop {
        if let Some(status) = child.try_wait()? {
            let mut said = String::new();
            // Less than a pipe holds.
            if let Some(mut output) = child.stdout.take() {
                output.read_to_string(&mut said)?;
            }
            return Ok(Some((status, said)));
        }
        if os::clock::boottime() >= until {
            break;
        }
        // A pause and nothing else.
        let _time = never.recv_timeout(LOOK_INTERVAL);
    }
    // It hangs where no signal reaches it, or has just ended; whoever waits for it is no hindrance.
    let _gone = child.kill();
    std::thread::Builder::new().name("question".into()).spawn(move || child.wait())?;
    Ok(None)
}

//! What may wait for a device, in a process that can be left behind: `mainstay ask-storage …`.
//!
//! | words | does | exit code |
//! |---|---|---|
//! | `users DIRECTORY` | prints who uses the file system there: number, start, name, use; with tabs | 0 |
//! | `free DEVICE` | whether the kernel has given up the device | 0 yes, [`NO`] no, [`ABSENT`] none there |
//! | `answers DEVICE` | reads its first block past every cache | 0 yes, [`NO`] no |
//!
//! Anything else that goes wrong is said on standard error, with code [`FAILED`].

use std::path::Path;
use std::process::{Command, Stdio};

use os::mount::User;

/// The name of the hidden command.
pub const COMMAND: &str = "ask-storage";
/// The answer is no.
pub const NO: i32 = 10;
/// Behind the node there is no device, or no medium in it.
pub const ABSENT: i32 = 12;
/// There is no answer.
pub const FAILED: i32 = 11;

/// Does one thing; returns the exit code.
#[must_use]
pub fn main(word: &str, path: &Path) -> i32 {
    let answer = match word {
        "users" => os::mount::users(path).map(|users| {
            for User { pid, started, name, how } in users {
                let (name, how) = (name.replace(['\t', '\n'], " "), how.replace(['\t', '\n'], " "));
                println!("{pid}\t{started}\t{name}\t{how}");
            }
            0
        }),
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
        _ => {
            eprintln!("there is no {word}");
            return FAILED;
        }
    };
    answer.unwrap_or_else(|error| {
        eprintln!("{}: {error}", path.display());
        FAILED
    })
}

/// ENXIO, ENODEV, ENOMEDIUM (errno(3)).
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(6 | 19 | 123))
}

/// What `users` has printed.
pub(super) fn users(output: &str) -> Vec<User> {
    let user = |line: &str| {
        let mut fields = line.splitn(4, '\t');
        Some(User {
            pid: fields.next()?.parse().ok()?,
            started: fields.next()?.parse().ok()?,
            name: fields.next()?.to_owned(),
            how: fields.next()?.to_owned(),
        })
    };
    output.lines().filter_map(user).collect()
}

/// The program with a question.
pub(super) fn ask(program: &Path, word: &str, path: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(COMMAND).arg(word).arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

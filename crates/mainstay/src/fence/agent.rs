//! Runs one agent, within a budget, and leaves nothing of it behind.
//!
//! The program is the first of a process group of its own, which is killed as a whole when it has
//! ended, when its time is over, or when nobody wants it any more. It has a clean environment, no
//! descriptor of ours, and runs in the ordinary class. Its output is read by threads that end with
//! it, and all but the beginning of it is thrown away: an agent that writes for ever fills nothing.
//! (What leaves the group and keeps the pipe open keeps one thread; it is not waited for.)

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::{Input, find};
use crate::config::Fence;

/// Between two looks whether it has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long the last words of an agent that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Bytes of each output that are kept.
const OUTPUT_SIZE_MAX: usize = 256 << 10;
/// Characters of what it complains about that are shown.
const COMPLAINT_SIZE_MAX: usize = 200;
const STACK_SIZE: usize = 128 << 10;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How an agent ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none: a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub output: String,
    /// The last line that it wrote to standard error, without secrets.
    pub complaint: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Ended {
    /// How it ended, for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let code = match self.code {
            Some(code) => format!("exit code {code}"),
            None => "it was killed".to_owned(),
        };
        match &self.complaint {
            Some(complaint) => format!("{code}: {complaint}"),
            None => code,
        }
    }
}

/// Runs an agent. It is ended when the other side of `stop` is dropped.
///
/// # Errors
/// A sentence: it cannot be started, or did not end in time.
pub fn run(
    fence: &Fence,
    node: &str,
    action: &str,
    budget: Duration,
    stop: &Receiver<()>,
) -> Result<Ended, String> {
    let input = Input::new(fence, node, action)?;
    let start = os::clock::boottime();
    let mut child = Command::new(find(&fence.agent)?)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let output = collect(child.stdout.take().expect("it is piped"));
    let complaints = collect(child.stderr.take().expect("it is piped"));
    // A pipe takes this much at once. One that does not read it says so by its exit code.
    let _unread = stdin.write_all(input.text.as_bytes());
    drop(stdin);
    let ended = wait(&mut child, start + budget, stop);
    let took = os::clock::boottime().since(start);
    let code = match ended {
        Ok(code) => code,
        Err(reason) => return Err(input.hide(&format!("{reason} ({} ms)", took.as_millis()))),
    };
    let output = output.recv_timeout(LAST_WORDS).unwrap_or_default();
    let complaints = complaints.recv_timeout(LAST_WORDS).unwrap_or_default();
    let last = complaints.lines().map(str::trim).rfind(|line| !line.is_empty());
    let complaint =
        last.map(|line| input.hide(line).chars().take(COMPLAINT_SIZE_MAX).collect::<String>());
    Ok(Ended { code, output, complaint, took })
}

/// Waits for the end, and makes an end of the whole group.
fn wait(
    child: &mut Child,
    until: base::Instant,
    stop: &Receiver<()>,
) -> Result<Option<i32>, String> {
    loop {
        // Not reaped yet, so the number is still its own.
        match os::process::has_ended(child.id()) {
            Ok(true) => {
                end(child);
                let status = child.wait().map_err(|error| error.to_string())?;
                return Ok(status.code());
            }
            Ok(false) => {}
            Err(error) => {
                end(child);
                return Err(format!("cannot be watched: {error}"));
            }
        }
        let reason = match stop.recv_timeout(LOOK_INTERVAL) {
            Err(RecvTimeoutError::Disconnected) | Ok(()) => "was stopped",
            Err(RecvTimeoutError::Timeout) if os::clock::boottime() < until => continue,
            Err(RecvTimeoutError::Timeout) => "did not end in time and was killed",
        };
        end(child);
        child.wait().map_err(|error| error.to_string())?;
        return Err(reason.to_owned());
    }
}

/// Kills all of its group; the child itself is not reaped yet.
fn end(child: &Child) {
    // A group of which nothing is left is what is wanted.
    let _gone = os::process::kill_group(child.id());
}

/// Reads to the end on a thread of its own, and keeps the beginning.
fn collect(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    let read = move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let room = OUTPUT_SIZE_MAX.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
        // Nobody waits any more for one that was given up.
        let _given_up = sender.send(String::from_utf8_lossy(&kept).into_owned());
    };
    // Without a thread there are no words, and the exit code says enough.
    let _speechless =
        std::thread::Builder::new().name("fence".into()).stack_size(STACK_SIZE).spawn(read);
    receiver
}

#[cfg(test)]
mod tests;

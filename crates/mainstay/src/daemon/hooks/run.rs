//! Runs one hook within its time, and leaves nothing of it behind.
//!
//! The program runs in a session and a control group of its own, which are killed as a whole when it has ended, when its
//! time is over, or when the daemon ends. They are not among those of services: a hook that runs must not keep a
//! guard from saying that nothing of a service is left. It has a clean environment and no descriptor of
//! ours but a pipe, of which a thread that ends with it keeps the last words.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use os::process::Containment;

use crate::config::{Hook, duration};

/// Between two looks whether it has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long what was killed is waited for.
const DEATH_MAX: Duration = Duration::from_millis(500);
/// How long the last words of one that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Bytes of output that are kept: the last ones.
const OUTPUT_SIZE_MAX: usize = 4 << 10;
/// Characters of its last line that are shown.
const LINE_SIZE_MAX: usize = 200;
const STACK_SIZE: usize = 128 << 10;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One run of a hook.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Run {
    pub(super) hook: Hook,
    /// What it is told.
    pub(super) environment: Vec<(&'static str, String)>,
    /// At what, in words: `after swap_adapter of net0`.
    pub(super) occasion: String,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Ended {
    /// By itself, with its last line of output.
    Code { code: i32, took: Duration, line: Option<String> },
    /// By a signal that nobody here sent.
    Signal { signal: i32, took: Duration },
    /// Its time was over.
    Late { within: Duration, is_gone: bool },
    /// With the daemon.
    Stopped,
    /// It never began, or could not be watched.
    Failed(String),
}

impl Ended {
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Ended::Code { code: 0, .. })
    }

    /// For people: follows the hook's name and what it was run for.
    pub(super) fn sentence(&self) -> String {
        match self {
            Ended::Code { code: 0, took, .. } => format!("ended 0 after {} ms", took.as_millis()),
            Ended::Code { code, took, line } => {
                let line = line.as_deref().unwrap_or("it wrote nothing");
                format!("exit {code} after {} ms: {line}", took.as_millis())
            }
            Ended::Signal { signal, took } => {
                format!("was ended by signal {signal} after {} ms", took.as_millis())
            }
            Ended::Late { within, is_gone: true } => {
                format!("timed out after {}, killed", duration::format(*within))
            }
            Ended::Late { within, is_gone: false } => format!(
                "timed out after {} and cannot be killed: it waits in the kernel",
                duration::format(*within)
            ),
            Ended::Stopped => "was ended with the daemon".to_owned(),
            Ended::Failed(reason) => reason.clone(),
        }
    }
}

/// What all runs share.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Runner {
    /// The name of the control groups, and these as soon as somebody needs them.
    tree: String,
    containment: Arc<OnceLock<Containment>>,
    /// Of runs: none is in the group of another one.
    last: Arc<AtomicU64>,
    is_stopped: Arc<AtomicBool>,
    /// What was killed and has not ended: reaped when it does.
    undead: Arc<Mutex<Vec<Child>>>,
}

impl Runner {
    pub(super) fn new(tree: &str) -> Runner {
        Runner {
            tree: tree.to_owned(),
            containment: Arc::default(),
            last: Arc::default(),
            is_stopped: Arc::default(),
            undead: Arc::default(),
        }
    }

    /// Has all end that run, and none begin.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Opens the control groups, and ends what a former life of the daemon left there; the first time. Not for the
    /// loop: without control groups this looks at all processes.
    ///
    /// # Errors
    /// When that cannot be ended: a sentence.
    pub(super) fn open(&self) -> Result<(), String> {
        let mut killed = Ok(0);
        self.containment.get_or_init(|| {
            let containment = Containment::open(&self.tree);
            killed = containment.kill_descendants();
            containment
        });
        let said = "what hooks of a former life of this daemon left cannot be ended";
        killed.map(drop).map_err(|error| format!("{said}: {error}"))
    }

    /// Removes the control groups, if nothing lives in them.
    pub(super) fn dissolve(&self) -> std::io::Result<()> {
        self.containment.get().map_or(Ok(()), Containment::dissolve)
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Runs it until it ends, or has to.
    pub(super) fn run(&self, run: &Run) -> Ended {
        if self.is_stopped() {
            return Ended::Stopped;
        }
        let mut undead = self.undead.lock().unwrap_or_else(PoisonError::into_inner);
        undead.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        drop(undead);
        if let Err(reason) = self.open() {
            return Ended::Failed(reason);
        }
        let containment = self.containment.get().expect("it was just opened");
        let number = self.last.fetch_add(1, Ordering::Relaxed).to_string();
        let ended = self.run_as(containment, run, &number);
        // What it left running has ended by now, unless it waits in the kernel: then the group stays.
        let _stays = containment.remove(&run.hook.name, Some(&number));
        ended
    }

    fn run_as(&self, containment: &Containment, run: &Run, number: &str) -> Ended {
        let name = &run.hook.name;
        let unit = (name.as_str(), number);
        let begun = os::clock::boottime();
        let until = begun + run.hook.timeout;
        let (child, words) = match start(containment, run, number) {
            Ok(started) => started,
            Err(reason) => return Ended::Failed(reason),
        };
        let is_stopped = loop {
            // Not reaped yet, so the number is still its own.
            match os::process::has_ended(child.id()) {
                Ok(true) => break None,
                Ok(false) => {}
                Err(error) => {
                    self.end(containment, unit, child);
                    return Ended::Failed(format!("cannot be watched: {error}"));
                }
            }
            if self.is_stopped() {
                break Some(true);
            }
            if os::clock::boottime() >= until {
                break Some(false);
            }
            pause();
        };
        let took = os::clock::boottime().since(begun);
        if let Some(is_stopped) = is_stopped {
            let (_, is_gone) = self.end(containment, unit, child);
            return match is_stopped {
                true => Ended::Stopped,
                false => Ended::Late { within: run.hook.timeout, is_gone },
            };
        }
        // What it has started ends with it, and with that the pipe.
        let (status, _) = self.end(containment, unit, child);
        let line = words.recv_timeout(LAST_WORDS).ok().as_deref().and_then(last_line);
        match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => Ended::Code { code, took, line },
            Some((None, Some(signal))) => Ended::Signal { signal, took },
            Some((None, None)) | None => Ended::Failed("ended nobody knows how".to_owned()),
        }
    }

    /// Kills all of it, waits a moment for that, and reaps the first of it. Gives how that ended, unless it is
    /// still there, and whether nothing of it is left.
    fn end(
        &self,
        containment: &Containment,
        (name, number): (&str, &str),
        mut child: Child,
    ) -> (Option<ExitStatus>, bool) {
        // A group of which nothing is left is what is wanted.
        let _gone = os::process::kill_group(child.id());
        let until = os::clock::boottime() + DEATH_MAX;
        let mut status = None;
        let is_gone = loop {
            // What had left the session is in the control group, or has the mark.
            let killed = containment.kill(name, Some(number));
            status = status.or_else(|| child.try_wait().ok().flatten());
            let is_empty = matches!(containment.is_empty(name, Some(number)), Ok(true));
            let is_gone = status.is_some() && killed.is_ok() && is_empty;
            if is_gone || os::clock::boottime() >= until {
                break is_gone;
            }
            pause();
        };
        if status.is_none() {
            self.undead.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        }
        (status, is_gone)
    }
}

fn start(
    containment: &Containment,
    run: &Run,
    number: &str,
) -> Result<(Child, Receiver<String>), String> {
    let (program, arguments) = run.hook.command.split_first().expect("it was checked");
    let said = |error: std::io::Error| format!("cannot be run: {program}: {error}");
    let (output, into) = std::io::pipe().map_err(said)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .envs(run.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(into.try_clone().map_err(said)?)
        .stderr(into);
    let enclosed = containment.enclose(&run.hook.name, number, &mut command, None);
    enclosed.map_err(|error| format!("has no control group to run in: {error}"))?;
    let child = command.spawn().map_err(said)?;
    // Ours is closed with the command: the thread reads until nobody has the other end.
    drop(command);
    Ok((child, collect(output)))
}

/// Reads to the end on a thread of its own, and keeps the end.
fn collect(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    let read = move || {
        let mut kept: Vec<u8> = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..count]);
            kept.drain(..kept.len().saturating_sub(OUTPUT_SIZE_MAX));
        }
        // Nobody waits any more for one that was given up.
        let _given_up = sender.send(String::from_utf8_lossy(&kept).into_owned());
    };
    // Without a thread there are no words, and the exit code says enough.
    let _speechless =
        std::thread::Builder::new().name("hook".into()).stack_size(STACK_SIZE).spawn(read);
    receiver
}

/// Waits for the length of a look.
fn pause() {
    let (_nothing, never) = channel::<()>();
    let _time = never.recv_timeout(LOOK_INTERVAL);
}

/// The last line that says something, fit for a journal.
fn last_line(output: &str) -> Option<String> {
    let line = output.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let shown = line.chars().map(|one| if one.is_control() { '?' } else { one });
    Some(shown.take(LINE_SIZE_MAX).collect())
}

#[cfg(test)]
mod tests;

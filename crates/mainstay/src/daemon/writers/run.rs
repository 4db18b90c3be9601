//! Programs that may hang in the kernel, and jobs that come meanwhile.
//!
//! A program is the first of a process group of its own. When its time is over, or a stop has come, the
//! group is killed; a program that does not end then waits for a device, and is left behind. What may
//! write (`fsck`, `mount`) runs among the processes of its resource: see [`Place`].

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use base::Instant;
use engine::Verb;
use os::process::Containment;
use os::shared::Permit;

use super::Job;

/// Between two looks whether a program has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long a killed program is waited for.
const DEATH_MAX: Duration = Duration::from_millis(500);
/// How long the last words of a program that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Bytes of a program's output that are kept.
const OUTPUT_SIZE_MAX: usize = 64 << 10;
const STACK_SIZE: usize = 128 << 10;
/// The permit of a program was over when it was about to start: see [`Containment::enclose`].
const ECANCELED: i32 = 125;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why something did not come about.
#[derive(Debug)]
pub(in crate::daemon) enum Fault {
    /// Another job is more urgent.
    Interrupted,
    /// A sentence with its mend.
    Said(String),
}

impl From<String> for Fault {
    fn from(sentence: String) -> Fault {
        Fault::Said(sentence)
    }
}

/// Jobs in order.
pub(in crate::daemon) struct Inbox {
    jobs: Receiver<Job>,
    early: VecDeque<Job>,
}

impl Inbox {
    pub(in crate::daemon) fn new(jobs: Receiver<Job>) -> Inbox {
        Inbox { jobs, early: VecDeque::new() }
    }

    pub(in crate::daemon) fn next(&mut self) -> Option<Job> {
        self.early.pop_front().or_else(|| self.jobs.recv().ok())
    }

    pub(in crate::daemon) fn next_within(
        &mut self,
        wait: Duration,
    ) -> Result<Job, RecvTimeoutError> {
        match self.early.pop_front() {
            Some(job) => Ok(job),
            None => self.jobs.recv_timeout(wait),
        }
    }

    /// Waits; whether a stop or a kill has come, or the end.
    pub(in crate::daemon) fn is_interrupted(&mut self, wait: Duration) -> bool {
        let waiting = |job: &Job| matches!(job, Job::Act(act, _) if act.verb != Verb::Start);
        if self.early.iter().any(waiting) {
            return true;
        }
        match self.jobs.recv_timeout(wait) {
            Ok(job) => {
                let interrupts = waiting(&job);
                self.early.push_back(job);
                interrupts
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }
}

/// Where a program runs.
#[derive(Clone, Copy, Debug)]
pub(in crate::daemon) enum Place<'a> {
    /// Wherever: it cannot write, or the kernel keeps the device claimed for as long as it does.
    Outside,
    /// Among the processes of its resource, where the guard ends it, a stop waits for it, and the next
    /// life of the daemon finds it.
    Inside {
        containment: &'a Containment,
        service: &'a str,
        resource: &'a str,
        permit: Option<&'a Permit>,
    },
}

/// How a program ended by itself.
#[derive(Debug)]
pub(in crate::daemon) struct Ended {
    pub(in crate::daemon) code: Option<i32>,
    pub(in crate::daemon) output: String,
    pub(in crate::daemon) complaint: String,
}

impl Ended {
    /// What it complained about, or how it ended.
    pub(in crate::daemon) fn why(&self) -> String {
        let mut lines = self.complaint.lines().map(str::trim).filter(|line| !line.is_empty());
        match (lines.next(), self.code) {
            (Some(line), _) => line.to_owned(),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => "it was killed".to_owned(),
        }
    }
}

/// Runs a program until it ends, its time is over, or a stop has come. `progress` gets each line of its
/// output as it comes.
pub(in crate::daemon) fn run(
    command: &mut Command,
    place: Place<'_>,
    until: Instant,
    inbox: &mut Inbox,
    left_behind: &mut Vec<Child>,
    progress: &mut dyn FnMut(&str),
) -> Result<Ended, Fault> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
    match place {
        Place::Outside => drop(command.process_group(0)),
        Place::Inside { containment, service, resource, permit } => containment
            .enclose(service, resource, command, permit)
            .map_err(|error| format!("{name} has no control group to run in: {error}"))?,
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("the program {name} is not on this machine"),
            // What took its time must not go on when the guard has ended the service.
            _ if error.raw_os_error() == Some(ECANCELED) => {
                "the guard has just stopped this service here".to_owned()
            }
            _ => format!("{name} cannot be run: {error}"),
        })?;
    let output = lines(child.stdout.take().expect("it is piped"));
    let complaints = lines(child.stderr.take().expect("it is piped"));
    let (mut said, mut complained) = (String::new(), String::new());
    let mut keep = |line: String, progress: &mut dyn FnMut(&str)| {
        progress(&line);
        add(&mut said, &line);
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                let end = os::clock::boottime() + LAST_WORDS;
                let left = || end.since(os::clock::boottime());
                while let Ok(line) = output.recv_timeout(left()) {
                    keep(line, progress);
                }
                while let Ok(line) = complaints.recv_timeout(left()) {
                    add(&mut complained, &line);
                }
                return Ok(Ended { code: status.code(), output: said, complaint: complained });
            }
            Ok(None) => {}
            Err(error) => return Err(format!("{name} cannot be watched: {error}").into()),
        }
        output.try_iter().for_each(|line| keep(line, progress));
        complaints.try_iter().for_each(|line| add(&mut complained, &line));
        let is_interrupted = inbox.is_interrupted(LOOK_INTERVAL);
        if !is_interrupted && os::clock::boottime() < until {
            continue;
        }
        let has_ended = end(child, left_behind);
        return Err(match (is_interrupted, has_ended) {
            (true, _) => Fault::Interrupted,
            (false, true) => Fault::Said(format!("{name} did not end in time and was killed")),
            (false, false) => Fault::Said(format!(
                "{name} did not end in time and cannot be killed: it waits for the device"
            )),
        });
    }
}

/// Kills a program with its group; false: it is left behind.
fn end(mut child: Child, left_behind: &mut Vec<Child>) -> bool {
    // A group of which nothing is left is what is wanted.
    let _gone = os::process::kill_group(child.id());
    let until = os::clock::boottime() + DEATH_MAX;
    let (_nothing, never) = channel::<()>();
    while os::clock::boottime() < until {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return true;
        }
        // A pause and nothing else.
        let _time = never.recv_timeout(LOOK_INTERVAL);
    }
    left_behind.push(child);
    false
}

fn add(text: &mut String, line: &str) {
    if text.len() + line.len() < OUTPUT_SIZE_MAX {
        text.push_str(line);
        text.push('\n');
    }
}

/// The lines of an output, read on a thread of its own.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    let read = move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    // Without a thread there are no words, and the exit code says enough.
    let _speechless =
        std::thread::Builder::new().name("mount".into()).stack_size(STACK_SIZE).spawn(read);
    receiver
}

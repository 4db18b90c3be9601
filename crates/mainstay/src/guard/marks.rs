//! The search for processes that no control group holds, on a thread of its own: where there are no control groups
//! by their marks, and where there are, for [what has left them](super::outside), on two such threads.
//!
//! Intuition: whose process it is stands in its environment, and to read that waits for locks of the
//! process: one that is being started from a file system that hangs, or whose memory is being read from one,
//! answers as soon as the file system does. So the loop that kills at the deadline never asks. It kills by
//! session, which the kernel knows without asking the process; this thread finds the rest: what has left its
//! session.
//!
//! **Rule:** as for the [network](super::network): words that have one writer each, and bells; neither waits
//! for the other. There is one question at a time, about a killed service or about all of them. While one
//! hangs nothing that has a mark counts as gone, which is alarmed, and no goodbye is said.
//!
//! The thread is never ended: it may be where nothing can be ended, and goes with the process.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use os::event::{Bell, Events, Interest, Poll, Token};
use os::process::{Search, search};
use os::shared::GuardSide;

#[cfg(test)]
mod tests;

/// Real-time priority of the thread: below the loop's, as the network's.
const PRIORITY: u8 = 55;
const _: () = assert!(PRIORITY < super::PRIORITY);
/// Bytes of its stack, and how much of that is touched at the start.
const STACK: usize = 256 << 10;
const TOUCHED: usize = 64 << 10;
/// Bytes of the longest mark.
pub(super) const MARK_MAX: usize = 256;
/// Above an error number.
const FAILED: u64 = 1 << 32;
const BELL: Token = Token(0);

/// Whom a question is about: a slot and which use of it, or all services and which life of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// One service.
    One { slot: usize, generation: u64 },
    /// All services of this node, after so many daemons have died.
    All { deaths: u64 },
    /// All services that were killed: whom of them control groups did not hold. How often that was asked.
    Killed { round: u64 },
}

struct Question {
    who: Who,
    mark: [u8; MARK_MAX],
    length: usize,
    kill: bool,
}

struct Desk {
    bell: Bell,
    asked: AtomicU64,
    answered: AtomicU64,
    /// How many were found, or [`FAILED`] and why not.
    found: AtomicU64,
    /// Written by the loop while no question is open, and read by the thread while one is.
    question: Mutex<Question>,
}

/// The loop's end of it.
pub(super) struct Marks {
    desk: Arc<Desk>,
    /// Who has not taken the answer yet.
    who: Option<Who>,
    /// Somebody else was sent away since the answer came.
    is_late: bool,
}

impl Marks {
    /// Starts the thread where there are no control groups: it looks at the marks of all processes.
    pub(super) fn start(shared: Arc<GuardSide>) -> anyhow::Result<Marks> {
        let rung = move || shared.bell().ring();
        Marks::start_with("marks", rung, |_, wanted| search(wanted))
    }

    /// Starts it to look like this.
    pub(super) fn start_with(
        name: &str,
        rung: impl Fn() + Send + 'static,
        look: impl FnMut(Who, &Search<'_>) -> io::Result<usize> + Send + 'static,
    ) -> anyhow::Result<Marks> {
        let desk = Arc::new(Desk {
            bell: Bell::new()?,
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            found: AtomicU64::new(0),
            question: Mutex::new(Question {
                who: Who::All { deaths: 0 },
                mark: [0; MARK_MAX],
                length: 0,
                kill: false,
            }),
        });
        let poll = Poll::new()?;
        poll.add(&desk.bell, BELL, Interest::Read)?;
        let seen = desk.clone();
        std::thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || run(&seen, &poll, rung, look))
            .context("cannot start a thread")?;
        Ok(Marks { desk, who: None, is_late: false })
    }

    /// Has the processes looked for whose mark begins like this. False: another question is open. An
    /// answer that nobody takes gives way when it has been in the way twice.
    pub(super) fn ask(&mut self, who: Who, mark: &str, kill: bool) -> bool {
        let asked = self.desk.asked.load(Ordering::Relaxed);
        if self.desk.answered.load(Ordering::Acquire) != asked {
            return false;
        }
        if self.who.is_some_and(|other| other != who) && !std::mem::replace(&mut self.is_late, true)
        {
            return false;
        }
        let Ok(mut question) = self.desk.question.try_lock() else { return false };
        question.mark[..mark.len()].copy_from_slice(mark.as_bytes());
        (question.who, question.length, question.kill) = (who, mark.len(), kill);
        drop(question);
        (self.who, self.is_late) = (Some(who), false);
        self.desk.asked.store(asked + 1, Ordering::Release);
        self.desk.bell.ring();
        true
    }

    /// How many were found, if that was asked and is known: told once.
    pub(super) fn answer(&mut self, who: Who) -> Option<io::Result<usize>> {
        let asked = self.desk.asked.load(Ordering::Relaxed);
        if self.who != Some(who) || self.desk.answered.load(Ordering::Acquire) != asked {
            return None;
        }
        (self.who, self.is_late) = (None, false);
        let found = self.desk.found.load(Ordering::Relaxed);
        Some(match found & FAILED {
            0 => Ok(found as usize),
            _ => Err(io::Error::from_raw_os_error((found as u32).cast_signed())),
        })
    }
}

fn run(
    desk: &Desk,
    poll: &Poll,
    rung: impl Fn(),
    mut look: impl FnMut(Who, &Search<'_>) -> io::Result<usize>,
) {
    // Where it is refused, the loop is refused too, and has said so.
    let _said = os::realtime::round_robin(PRIORITY);
    os::realtime::touch_stack::<TOUCHED>();
    let mut events = Events::with_capacity(1);
    loop {
        desk.bell.take();
        let asked = desk.asked.load(Ordering::Acquire);
        if desk.answered.load(Ordering::Relaxed) != asked {
            let question = desk.question.lock().unwrap_or_else(PoisonError::into_inner);
            let mark = std::str::from_utf8(&question.mark[..question.length]);
            let mark = Some(mark.expect("it was copied from a string"));
            let search = Search { marker: mark, sessions: &[], kill: question.kill };
            let found = look(question.who, &search);
            drop(question);
            let found = match found {
                Ok(count) => (count as u64).min(FAILED - 1),
                Err(error) => FAILED | u64::from(error.raw_os_error().unwrap_or(0).cast_unsigned()),
            };
            desk.found.store(found, Ordering::Relaxed);
            desk.answered.store(asked, Ordering::Release);
            rung();
        }
        if let Err(error) = poll.wait(&mut events, None) {
            // Nothing can be waited for: the end of the process is better than a loop without a pause.
            panic!("epoll of the guard's thread for marks: {error}");
        }
    }
}

/// `TREE/SERVICE/` in a buffer.
pub(super) fn join<'a>(text: &'a mut [u8; MARK_MAX], mark: &str, service: &str) -> &'a str {
    let mut length = 0;
    for part in [mark, service, "/"] {
        text[length..length + part.len()].copy_from_slice(part.as_bytes());
        length += part.len();
    }
    std::str::from_utf8(&text[..length]).expect("joined from strings")
}

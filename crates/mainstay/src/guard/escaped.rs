//! Whom of the services their control groups do not hold.
//!
//! Intuition: a group is killed by one write, at the deadline, and nothing may delay that. But a process can
//! have left it: moved by somebody with the right to, or by a login that it made (`su -`, `sudo`), which
//! the service manager puts into a group of its own. So after each kill the [thread](super::marks) looks at all
//! processes once, kills who has left by every evidence there is ([`os::process::Census`]), and says of which
//! services it found any: none of these counts as gone before a look has found none.
//!
//! **Rule:** who belongs to a service that may still run is left alone. An orphan that nobody can tell the
//! owner of is killed with the first service that is: else it may be that one's, and run twice. Only while
//! another service may run its environment is asked for whose it is, which may take for ever; where none may
//! run, nobody is asked and all such orphans are killed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use os::process::{Census, Evidence, Found, Groups, Owner, Reach};
use os::shared::{ENTRIES_MAX, GuardSide, Subject};
use rustix::io::Errno;

use super::marks::{MARK_MAX, join};

/// Of which slots something was found by the last look: written by the thread before it answers.
pub(super) type Left = Arc<[AtomicBool]>;

/// The thread's part.
pub(super) struct Escaped {
    census: Census,
    subject: Box<Subject>,
    tree: String,
    /// `TREE/`: how all marks begin.
    mark: String,
    shared: Arc<GuardSide>,
    left: Left,
}

/// What is to be done about a process.
enum Verdict {
    /// It may run, or is none of a service.
    Leave,
    /// It has to end with this service.
    Of(usize),
    /// ... with whichever ends first.
    OfSomebody,
}

impl Escaped {
    pub(super) fn new(tree: &str, shared: Arc<GuardSide>) -> Escaped {
        Escaped {
            census: Census::default(),
            subject: Box::default(),
            tree: tree.to_owned(),
            mark: format!("{tree}/"),
            shared,
            left: (0..ENTRIES_MAX).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// What the loop reads when it is answered.
    pub(super) fn left(&self) -> Left {
        self.left.clone()
    }

    /// Looks for processes of killed services, or with `all` of all, and kills them if `kill`. Returns how many
    /// there were.
    ///
    /// # Errors
    /// When `/proc` cannot be read, something cannot be killed, or the daemon was describing a service all the
    /// time.
    pub(super) fn look(&mut self, all: bool, kill: bool) -> io::Result<usize> {
        let (daemon, _) = self.shared.daemon();
        self.census.look(&self.tree, Reach::Below(&[std::process::id()]), daemon)?;
        let mut may_run = false;
        for slot in 0..self.shared.used() {
            let Some(held) = self.shared.held(slot) else { continue };
            may_run |= !held.killed;
            if !self.shared.read(slot, &mut self.subject) {
                return Err(Errno::AGAIN.into());
            }
            let (_, group) = self.subject.group().rsplit_once('/').unwrap_or_default();
            let evidence = Evidence {
                sessions: self.subject.processes(),
                processes: &[],
                groups: Groups::Service(group),
            };
            self.census.own(u16::try_from(slot).expect("ENTRIES_MAX fits"), &evidence);
        }
        self.census.settle();
        self.left.iter().for_each(|left| left.store(false, Ordering::Relaxed));
        let (mut count, mut refused) = (0, Ok(()));
        for found in self.census.found() {
            match judge(&self.shared, &mut self.subject, &self.mark, &found, all, may_run)? {
                Verdict::Leave => continue,
                Verdict::Of(slot) => self.left[slot].store(true, Ordering::Relaxed),
                Verdict::OfSomebody => {
                    self.left.iter().for_each(|left| left.store(true, Ordering::Relaxed));
                }
            }
            count += 1;
            if kill {
                // The others are killed all the same.
                refused = refused.and(found.kill());
            }
        }
        refused.map(|()| count)
    }
}

fn judge(
    shared: &GuardSide,
    subject: &mut Subject,
    mark: &str,
    found: &Found,
    all: bool,
    may_run: bool,
) -> io::Result<Verdict> {
    Ok(match found.owner {
        Owner::Known(slot) => {
            let slot = usize::from(slot);
            let is_killed = shared.held(slot).is_some_and(|held| held.killed);
            if all || is_killed { Verdict::Of(slot) } else { Verdict::Leave }
        }
        Owner::Another if all => Verdict::OfSomebody,
        Owner::Another => Verdict::Leave,
        Owner::Nobody { beside: false } if all || !may_run => Verdict::OfSomebody,
        Owner::Nobody { beside } => {
            if !found.has_mark(mark) {
                return Ok(if beside { Verdict::Leave } else { Verdict::OfSomebody });
            }
            if all {
                return Ok(Verdict::OfSomebody);
            }
            for slot in 0..shared.used() {
                let Some(held) = shared.held(slot) else { continue };
                if !shared.read(slot, subject) {
                    return Err(Errno::AGAIN.into());
                }
                let mut text = [0_u8; MARK_MAX];
                if found.has_mark(join(&mut text, mark, subject.service())) {
                    return Ok(if held.killed { Verdict::Of(slot) } else { Verdict::Leave });
                }
            }
            // Of a service that is under the guard no more: nothing of it may be here.
            Verdict::OfSomebody
        }
    })
}

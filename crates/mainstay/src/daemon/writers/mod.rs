//! The threads of what may write to storage: one for each mount, and one for each reservation.
//!
//! ```text
//!   loop ──act, adopt──► Writers ──Job──► thread of one resource: a Writer at its Desk
//!     ▲                                     start, stop, look; programs that may hang (run)
//!     └───────Done: mounted, stopped, broken, a line for the journal───────┘
//! ```
//!
//! What a mount and a reservation do differs, and is in [`super::mounts`] and [`super::reservations`]. What
//! is the same is here: who waits for whom, what is on record when, and what is said of it.
//!
//! **Rule:** a resource is on record before anything of it begins, and until its stop is confirmed. A start
//! that a stop has interrupted is not answered: whoever wants it stopped waits for that answer alone.
//!
//! Assumed: a job that is no start is more urgent than the one that is under way (see [`run::Inbox`]).

mod desk;
pub mod question;
pub(super) mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use engine::{Act, ResourceKind, Verb};
use os::event;
use os::process::Containment;
use os::shared::Permit;

use super::Done;
use super::mounts::{Mount, Trace};
use super::records::Records;
use super::reservations::{Keys, Reservation};
pub(super) use desk::Desk;
use run::{Fault, Inbox};

const STACK_SIZE: usize = 256 << 10;
/// The program that runs as [`question`]: this one.
pub(super) const PROGRAM: &str = "/proc/self/exe";

/// What one thread is told.
pub(super) enum Job {
    Act(Act, Option<Permit>),
    /// A former life of the daemon has started it, or may have: what is known of its device.
    Adopt(Trace),
}

/// What the thread of one resource does.
pub(super) trait Writer: Send {
    fn desk(&mut self) -> &mut Desk;

    /// Between two looks at what is there.
    fn look_interval(&self) -> Duration;

    /// For people: what is true once it has started.
    fn did(&self) -> &'static str;

    /// Takes it as it is configured by now.
    fn configure(&mut self, kind: &ResourceKind);

    /// It is there already, or may be; whether it is to be looked at.
    fn adopt(&mut self, trace: Trace) -> bool;

    fn start(&mut self, act: &Act, permit: Option<&Permit>, inbox: &mut Inbox)
    -> Result<(), Fault>;

    /// Done: nothing of it is left that may write.
    fn stop(&mut self, act: &Act, inbox: &mut Inbox) -> Result<(), Fault>;

    /// Whether it is as a start has left it; if not, a sentence.
    fn look(&mut self, inbox: &mut Inbox) -> Result<(), Fault>;
}

/// The threads.
pub(super) struct Writers {
    asker: PathBuf,
    keys: Keys,
    records: Records,
    containment: Containment,
    done: event::Sender<Done>,
    /// By kind, service and resource: one that has become of another kind has another thread.
    threads: BTreeMap<(&'static str, String, String), Sender<Job>>,
}

impl Writers {
    /// `program` is the one that runs as [`question`]; `keys` says which key on a disk is whose.
    pub(super) fn new(
        program: PathBuf,
        keys: Keys,
        records: Records,
        containment: Containment,
        done: event::Sender<Done>,
    ) -> Writers {
        Writers { asker: program, keys, records, containment, done, threads: BTreeMap::new() }
    }

    /// Hands an act on a mount or a reservation to its thread.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn act(&mut self, act: Act, permit: Option<Permit>) -> std::io::Result<()> {
        let (service, resource) = (act.service.clone(), act.resource.clone());
        self.send(&service, &resource, Job::Act(act, permit))
    }

    /// Looks after what is there already, or remembers what is known of what may be.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn adopt(
        &mut self,
        service: &str,
        resource: &engine::Resource,
        trace: Trace,
    ) -> std::io::Result<()> {
        self.send(service, resource, Job::Adopt(trace))
    }

    fn send(
        &mut self,
        service: &str,
        resource: &engine::Resource,
        job: Job,
    ) -> std::io::Result<()> {
        let name = match resource.kind {
            ResourceKind::Mount { .. } => "mount",
            ResourceKind::Reservation { .. } => "reservation",
            ResourceKind::Process { .. } | ResourceKind::Address { .. } => {
                unreachable!("only what writes to storage comes here")
            }
        };
        let key = (name, service.to_owned(), resource.name.clone());
        let thread = match self.threads.get(&key) {
            Some(thread) => thread.clone(),
            None => {
                let (sender, jobs) = channel();
                let desk = Desk::new(
                    self.asker.clone(),
                    self.records.clone(),
                    self.containment.clone(),
                    self.done.clone(),
                    (service.to_owned(), resource.name.clone()),
                );
                let mut writer: Box<dyn Writer> = match resource.kind {
                    ResourceKind::Mount { .. } => Box::new(Mount::new(desk, &resource.kind)),
                    _ => Box::new(Reservation::new(desk, self.keys.clone(), &resource.kind)),
                };
                std::thread::Builder::new()
                    .name(name.into())
                    .stack_size(STACK_SIZE)
                    .spawn(move || serve(writer.as_mut(), jobs))?;
                self.threads.insert(key, sender.clone());
                sender
            }
        };
        thread.send(job).expect("a thread lives as long as its queue");
        Ok(())
    }
}

/// One thread, until the loop has gone.
fn serve(writer: &mut dyn Writer, jobs: Receiver<Job>) {
    let mut inbox = Inbox::new(jobs);
    let mut is_watched = false;
    loop {
        let next = match is_watched {
            true => inbox.next_within(writer.look_interval()),
            false => inbox.next().ok_or(RecvTimeoutError::Disconnected),
        };
        writer.desk().reap();
        match next {
            Ok(Job::Adopt(trace)) => is_watched = writer.adopt(trace),
            Ok(Job::Act(act, permit)) => {
                writer.configure(&act.resource.kind);
                is_watched = match act.verb {
                    Verb::Start => started(writer, &act, permit.as_ref(), &mut inbox),
                    Verb::Stop | Verb::Kill => {
                        stopped(writer, &act, &mut inbox);
                        false
                    }
                };
            }
            Err(RecvTimeoutError::Timeout) => match writer.look(&mut inbox) {
                Ok(()) | Err(Fault::Interrupted) => {}
                Err(Fault::Said(reason)) => {
                    is_watched = false;
                    let (service, resource) = writer.desk().names();
                    writer.desk().tell(Done::MountBroken { service, resource, reason });
                }
            },
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Whether it is there, to be looked at from then on.
fn started(writer: &mut dyn Writer, act: &Act, permit: Option<&Permit>, inbox: &mut Inbox) -> bool {
    let entered = writer.desk().enter(&act.resource);
    let result = match entered.and_then(|()| writer.start(act, permit, inbox)) {
        Ok(()) => Ok(()),
        // Whoever wants it stopped meanwhile waits for that answer.
        Err(Fault::Interrupted) => return false,
        Err(Fault::Said(reason)) => Err(reason),
    };
    let is_there = result.is_ok();
    let did = writer.did();
    let (service, resource) = writer.desk().names();
    writer.desk().tell(Done::Mounted { id: act.id, service, resource, did, result });
    is_there
}

fn stopped(writer: &mut dyn Writer, act: &Act, inbox: &mut Inbox) {
    let result = match writer.stop(act, inbox) {
        Ok(()) => {
            writer.desk().forget();
            Ok(())
        }
        Err(Fault::Interrupted) => return,
        Err(Fault::Said(reason)) => Err(reason),
    };
    writer.desk().tell(Done::Stopped { id: act.id, result });
}

//! Starting and stopping the processes of services, away from the loop.
//!
//! Each service has a worker thread of its own, so that a start that waits for a slow disk or a
//! process that will not end holds up no other service. Jobs of one service are done in order; a
//! kill ends the wait of the stop before it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use engine::{Act, ActionId, ResourceKind, Verb};
use os::event;
use os::process::{Containment, Output, Process, Program};
use os::shared::{HeldProcess, Permit};

use super::Done;

/// How often a worker looks whether what it asked to stop is gone: at first, while most services
/// are about to be, and later.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
const LOOK_INTERVAL_LATER: Duration = Duration::from_millis(20);
/// Looks before the interval grows.
const QUICK_LOOKS: u32 = 50;
/// Bytes of a service's log file before its older half is thrown away.
const LOG_SIZE_MAX: u64 = 1 << 20;
/// Workers do little; their stacks are small.
const STACK_SIZE: usize = 256 << 10;

/// An act, and for a start the right to it.
struct Job {
    act: Act,
    permit: Option<Permit>,
}

/// The workers.
pub(super) struct Agents {
    containment: Containment,
    logs: PathBuf,
    done: event::Sender<Done>,
    workers: BTreeMap<String, Sender<Job>>,
}

impl Agents {
    pub(super) fn new(
        containment: Containment,
        logs: PathBuf,
        done: event::Sender<Done>,
    ) -> Agents {
        Agents { containment, logs, done, workers: BTreeMap::new() }
    }

    /// Hands an act on a process to its service's worker.
    ///
    /// # Errors
    /// When the machine has no thread left for a new worker.
    pub(super) fn act(&mut self, act: Act, permit: Option<Permit>) -> std::io::Result<()> {
        let worker = match self.workers.get(&act.service) {
            Some(worker) => worker.clone(),
            None => {
                let (sender, jobs) = channel();
                let worker = Worker {
                    containment: self.containment.clone(),
                    logs: self.logs.clone(),
                    done: self.done.clone(),
                };
                std::thread::Builder::new()
                    .name("agent".into())
                    .stack_size(STACK_SIZE)
                    .spawn(move || worker.run(&jobs))?;
                self.workers.insert(act.service.clone(), sender.clone());
                sender
            }
        };
        worker.send(Job { act, permit }).expect("a worker lives as long as its queue");
        Ok(())
    }
}

struct Worker {
    containment: Containment,
    logs: PathBuf,
    done: event::Sender<Done>,
}

impl Worker {
    fn run(&self, jobs: &Receiver<Job>) {
        let mut stopping: Vec<Act> = Vec::new();
        let mut looks = 0;
        loop {
            let job = if stopping.is_empty() {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                looks += 1;
                let often = looks < QUICK_LOOKS;
                jobs.recv_timeout(if often { LOOK_INTERVAL } else { LOOK_INTERVAL_LATER })
            };
            match job {
                Ok(Job { act, permit }) => match act.verb {
                    Verb::Start => self.start(&act, permit.as_ref()),
                    Verb::Stop | Verb::Kill => {
                        looks = 0;
                        let service = &act.service;
                        let resource = Some(act.resource.name.as_str());
                        let asked = match act.verb {
                            Verb::Kill => self.containment.kill(service, resource),
                            _ => self.containment.terminate(service, resource),
                        };
                        match asked {
                            Ok(()) => stopping.push(act),
                            Err(error) => self.stopped(act.id, Err(error)),
                        }
                    }
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            stopping.retain(|act| {
                let resource = Some(act.resource.name.as_str());
                match self.containment.is_empty(&act.service, resource) {
                    Ok(false) => true,
                    Ok(true) => {
                        self.stopped(act.id, self.containment.remove(&act.service, resource));
                        false
                    }
                    Err(error) => {
                        self.stopped(act.id, Err(error));
                        false
                    }
                }
            });
        }
    }

    fn start(&self, act: &Act, permit: Option<&Permit>) {
        let ResourceKind::Process { command, directory, environment, user } = &act.resource.kind
        else {
            unreachable!("only processes come here");
        };
        let log = self.logs.join(format!("{}.{}.log", act.service, act.resource.name));
        // A log that cannot be trimmed only grows; that is no reason not to start.
        let _grows = os::process::trim_log(&log, LOG_SIZE_MAX);
        let program = Program {
            command,
            directory: directory.as_deref(),
            environment,
            user: user.as_deref(),
            output: Output::File(&log),
        };
        // A start that waited here while the guard stopped the service must not happen any more.
        let permit = permit.expect("a start comes with the right to it");
        let result = self
            .containment
            .spawn_permitted(&act.service, &act.resource.name, &program, permit)
            .map_err(|error| error.to_string());
        self.tell(Done::Started {
            id: act.id,
            service: act.service.clone(),
            resource: act.resource.name.clone(),
            result,
        });
    }

    fn stopped(&self, id: ActionId, result: std::io::Result<()>) {
        self.tell(Done::Stopped { id, result: result.map_err(|error| error.to_string()) });
    }

    fn tell(&self, done: Done) {
        // The loop has gone when the process is ending; nobody waits for the outcome then.
        let _ending = self.done.send_waiting(done);
    }
}

/// What is left of a resource that a former life of the daemon started.
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// Its first process, and perhaps what that has started.
    Running(Process),
    /// Only what its first process had started, or a process that was never written down.
    Remains,
}

/// Looks for what is left of a process resource.
///
/// # Errors
/// When the kernel does not say: then nothing may be taken for gone.
pub(super) fn look(
    containment: &Containment,
    service: &str,
    resource: &str,
    held: Option<&HeldProcess>,
) -> std::io::Result<Left> {
    let first = match held {
        Some(held) => Process::adopt(held.pid, held.started)?,
        None => None,
    };
    Ok(match first {
        Some(process) => {
            containment.remember(service, resource, &process);
            Left::Running(process)
        }
        None if containment.is_empty(service, Some(resource))? => Left::Nothing,
        None => Left::Remains,
    })
}

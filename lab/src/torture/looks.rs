//! What the nodes say of their views, asked all the time, and whether it can be true.
//!
//! Nobody outside can see at one instant what two nodes believe. What they said can be compared, though: a
//! generation has the same members whoever speaks of it, and no node that is a member goes back to an older one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::api::{self, Status};
use crate::clock;
use crate::worker;

/// How often each node is asked. A life that joins is seen: it is held down for longer than this first.
const INTERVAL: Duration = Duration::from_millis(200);

/// What was said.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// How often a member answered: without any there is no verdict.
    pub(super) members: u64,
    /// By generation: its members, and who said so first.
    views: BTreeMap<u64, (BTreeSet<String>, String)>,
    /// By node: the newest generation of which it was a member.
    newest: BTreeMap<String, u64>,
    /// By node: its lives.
    lives: BTreeMap<String, BTreeSet<u64>>,
    /// What cannot be true.
    pub(super) complaints: Vec<String>,
}

impl Said {
    fn note(&mut self, status: &Status) {
        let name = &status.node.name;
        self.lives.entry(name.clone()).or_default().insert(status.node.incarnation);
        if status.node.state != "member" {
            return;
        }
        self.members += 1;
        let generation = status.view.generation;
        let members: BTreeSet<String> = status.view.members.iter().cloned().collect();
        let first = (members.clone(), name.clone());
        let (known, by) = self.views.entry(generation).or_insert(first);
        if *known != members {
            self.complaints.push(format!(
                "generation {generation} has the members {} to {by} and {} to {name}",
                words(known),
                words(&members)
            ));
        }
        let newest = self.newest.entry(name.clone()).or_insert(generation);
        if *newest > generation {
            self.complaints.push(format!(
                "{name} is a member of generation {generation} after it was one of {newest}"
            ));
        }
        *newest = generation;
    }

    /// Of the node that had the most of them, how many lives it had.
    pub(super) fn lives(&self) -> usize {
        self.lives.values().map(BTreeSet::len).max().unwrap_or_default()
    }
}

fn words(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(" ")
}

/// A thread for each node that asks until it is stopped or dropped.
pub(super) struct Looks {
    stop: Arc<AtomicBool>,
    said: Arc<Mutex<Said>>,
    workers: Vec<Option<JoinHandle<Result<()>>>>,
}

impl Looks {
    /// At the daemons below these roots.
    pub(super) fn start(roots: Vec<PathBuf>) -> Result<Self> {
        let mut looks = Self {
            stop: Arc::new(AtomicBool::new(false)),
            said: Arc::default(),
            workers: Vec::new(),
        };
        for root in roots {
            let (is_over, said) = (Arc::clone(&looks.stop), Arc::clone(&looks.said));
            let work = move || {
                while !is_over.load(Ordering::Acquire) {
                    // One that is not there, or stopped, says nothing.
                    if let Ok(status) = api::status(&root) {
                        said.lock().unwrap_or_else(PoisonError::into_inner).note(&status);
                    }
                    clock::pause(INTERVAL);
                }
                Ok(())
            };
            let thread = std::thread::Builder::new().name("looks".to_owned());
            looks.workers.push(Some(thread.spawn(work).context("starting to look at the nodes")?));
        }
        Ok(looks)
    }

    /// What was said so far.
    pub(super) fn said(&self) -> Said {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it.
    pub(super) fn stop(mut self) -> Result<Said> {
        self.join()?;
        Ok(self.said())
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        self.workers.iter_mut().try_for_each(worker::joined)
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        // `stop` reports; what is merely dropped has nobody to report to.
        let _ = self.join();
    }
}

#[cfg(test)]
mod tests;

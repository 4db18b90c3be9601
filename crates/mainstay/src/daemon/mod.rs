//! The daemon: drives a [`node::Node`] with the kernel.
//!
//! ```text
//!   sockets, netlink, pidfds ─┐                    ┌─► sockets, raw frames
//!   timer ────────────────────┼─► loop ── Node ────┼─► disk thread      ─┐
//!   API queue ────────────────┤    ▲               ├─► addresses thread ─┤
//!   outcomes ─────────────────┘    │               └─► agent threads    ─┤
//!                                  └──────── bounded queue ◄─────────────┘
//! ```
//!
//! One thread owns the node; it never waits for a disk, an agent, a name or a client. Whatever
//! else runs talks to it through bounded queues, and what it did is reported back as an input:
//! "started" is only what was observed.

mod addresses;
mod agents;
mod answer;
mod convert;
mod cover;
mod disk;
mod drive;
mod journal;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base::{Incarnation, Member, NodeId};
use engine::{Found, ResourceKind};
use os::persist::Store;
use os::process::{Containment, Process};
use os::shared::DaemonSide;

use crate::config::{self, Cluster, files};
use cover::Cover;

/// What the daemon is started with, by its guard.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything of this node is below here.
    pub root: PathBuf,
    /// The descriptor of the memory that the guard shares.
    pub shared: i32,
}

/// What other threads report to the loop.
#[derive(Debug)]
enum Done {
    /// A write is durable.
    Persisted(u64),
    /// The disk refuses, or takes writes again.
    Disk(Option<String>),
    /// All interfaces as they are.
    Interfaces(Vec<os::netlink::Interface>),
    /// An address was added or removed, or could not be.
    Address { operation: u64, result: Result<(), String> },
    /// A process was started, or could not be.
    Started {
        id: engine::ActionId,
        service: String,
        resource: String,
        result: Result<Process, String>,
    },
    /// Nothing of a resource is left, or it could not be stopped.
    Stopped { id: engine::ActionId, result: Result<(), String> },
    /// Something went wrong that concerns no single act.
    Trouble(String),
}

/// Runs the daemon until it has left.
///
/// # Errors
/// When the configuration, the key or the node's memory cannot be used, or the kernel refuses
/// what a daemon cannot do without.
pub fn run(options: &Options) -> Result<ExitCode> {
    let root = files::Root::new(&options.root);
    let store = Store::open(&root.state())?;
    let cluster = load_configuration(&root, &store)?;
    let local = files::local_node(&root, &cluster).map_err(explain)?;
    let key = files::read_key(&root).map_err(explain)?;
    let memory: disk::State = disk::load(&store, disk::STATE)?.unwrap_or_default();
    // Never used before, also when the memory was wiped: then the wall clock is ahead of it.
    let incarnation = Incarnation((memory.incarnation.0 + 1).max(os::clock::wall_millis()));
    let state = disk::State { incarnation, record: memory.record.clone() };
    store.write(disk::STATE, &base::codec::encode(&state))?;

    let mut shared = DaemonSide::inherit(options.shared)?;
    shared.set_incarnation(incarnation);
    let timing = cluster.timing;
    let stop = cluster.services.iter().map(|service| service.stop_timeout).max();
    shared.set_budgets(timing.release, stop.unwrap_or_default() * 2 + timing.stall);
    let tree = os::cgroup::tree_name(&cluster.name, &cluster.name_of(local), &options.root)?;
    let containment = Containment::open(&tree);
    let certified = shared.guard().restarts > 0;
    let mut cover = Cover::new(shared);
    let (found, processes) = look_for_leftovers(&cluster, &containment, &mut cover)?;

    let mut entropy = [0; 16];
    os::clock::random(&mut entropy);
    let mut seed = [0; 8];
    os::clock::random(&mut seed);
    let birth = node::Birth {
        local: Member { node: local, incarnation },
        cluster: convert::cluster(&cluster, local),
        keys: [Some(key.0), None],
        entropy,
        seed: u64::from_be_bytes(seed),
        record: memory.record,
        found,
        certified,
    };
    drive::Daemon::start(drive::Start { root, store, cluster, cover, containment, processes, birth })?
        .run()
}

/// The configuration and its version. A file that was edited by hand counts as newer than what
/// was agreed on; in a running cluster the agreed one wins and is written back.
fn load_configuration(root: &files::Root, store: &Store) -> Result<Cluster> {
    let text = files::read_cluster(root).map_err(explain)?;
    let mut cluster = parse(root, &text, 1)?;
    let agreed: Option<disk::Agreed> = disk::load(store, disk::AGREED)?;
    let pending: Option<disk::Agreed> = disk::load(store, disk::PENDING)?;
    let Some(agreed) = agreed else { return Ok(cluster) };
    if cluster.checksum != agreed.checksum {
        eprintln!(
            "mainstay: {} differs from version {} that the cluster agreed on: taken as version {}",
            root.cluster().display(),
            agreed.version,
            agreed.version + 1
        );
        cluster.version = agreed.version + 1;
        return Ok(cluster);
    }
    cluster.version = agreed.version;
    // Every member held it when it was on its way; the newest durable one is the one to go on
    // with.
    if let Some(pending) = pending.filter(|pending| pending.version > agreed.version) {
        cluster = parse(root, &pending.text, pending.version)?;
    }
    Ok(cluster)
}

fn parse(root: &files::Root, text: &str, version: u64) -> Result<Cluster> {
    let file = root.cluster().display().to_string();
    match config::parse(text, &file, version) {
        Ok((cluster, _warnings)) => Ok(cluster),
        Err(diagnostics) => bail!("{}", diagnostics.render(false)),
    }
}

fn explain(error: files::FileError) -> anyhow::Error {
    anyhow::anyhow!("{error}\n  help: {}", error.help)
}

/// A process that lives, with the service and the resource that it is.
type Living = (String, String, Process);

/// What a former life of this daemon left running under the guard: it is adopted if the
/// configuration still knows it, and killed if not.
fn look_for_leftovers(
    cluster: &Cluster,
    containment: &Containment,
    cover: &mut Cover,
) -> Result<(Vec<Found>, Vec<Living>)> {
    let interfaces = os::netlink::Netlink::open()
        .context("netlink")?
        .interfaces()
        .context("look at the interfaces")?;
    let (mut found, mut processes) = (Vec::new(), Vec::new());
    for entry in cover.shared().entries() {
        let name = entry.description.service;
        // Killed between a start and its entry, the former life left a process that no entry
        // names; its resource counts as not running.
        for resource in cluster.services.iter().filter(|s| s.name == name).flat_map(|s| &s.resources)
        {
            let is_named =
                entry.description.processes.iter().any(|held| held.resource == resource.name);
            let is_process = matches!(resource.kind, ResourceKind::Process { .. });
            if is_process && !is_named {
                containment.kill(&name, Some(&resource.name))?;
            }
        }
        let service = cluster.services.iter().find(|service| service.name == name);
        let resource = |is: &dyn Fn(&engine::Resource) -> bool| {
            service.and_then(|service| service.resources.iter().find(|one| is(one))).cloned()
        };
        for (resource_name, process) in agents::alive(&entry.description.processes) {
            match resource(&|one| one.name == resource_name) {
                Some(resource) => {
                    found.push(Found { service: name.clone(), resource });
                    processes.push((name.clone(), resource_name, process));
                }
                None => containment.kill(&name, Some(&resource_name))?,
            }
        }
        for held in &entry.description.processes {
            if !found.iter().any(|one| one.service == name && one.resource.name == held.resource) {
                cover.ended(&name, &held.resource);
            }
        }
        for held in &entry.description.addresses {
            let on = interfaces.iter().find(|interface| interface.index == held.interface);
            let is_there = on.is_some_and(|on| on.addresses.iter().any(|a| a.address == held.address));
            let known = resource(&|one| {
                matches!(&one.kind, ResourceKind::Address { address, .. } if *address == held.address)
            });
            match known {
                Some(resource) if is_there => found.push(Found { service: name.clone(), resource }),
                // What the configuration does not know any more is swept away by the network
                // layer or runs out; the guard keeps it until then.
                _ if is_there => {}
                _ => cover.removed(held.address),
            }
        }
    }
    Ok((found, processes))
}

/// The name of a node for people.
fn name_of(cluster: &node::Cluster, id: NodeId) -> String {
    cluster.name(id)
}

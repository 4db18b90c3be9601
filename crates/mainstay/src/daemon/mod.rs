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
mod aliases;
mod answer;
mod arbiters;
mod convert;
mod cover;
mod discovery;
mod disk;
mod drive;
mod errands;
mod fencing;
mod gate;
mod gateways;
mod goodbyes;
mod health;
mod hooks;
mod journal;
mod learned;
mod leaving;
mod media;
mod mounts;
mod paths;
mod placed;
mod probing;
mod records;
mod replaced;
mod reservations;
mod stand_in;
mod standby;
mod status;
mod watchdog;
pub mod writers;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base::{Incarnation, Member, NodeId};
use engine::{Found, ResourceKind};
use os::gate::{Attached, DaemonGate};
use os::persist::Store;
use os::process::{Containment, Process};
use os::shared::{DaemonSide, Gated};

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
    /// The paths that this node alone defines are written, or why not.
    Paths(Option<String>),
    /// The disk refuses, or takes writes again.
    Disk(Option<String>),
    /// A carrier or a verdict on an interface has changed.
    Health,
    /// All interfaces as they are.
    Interfaces(Vec<os::netlink::Interface>),
    /// An address was added or removed, or could not be.
    Address { operation: u64, result: Result<(), network::Failure> },
    /// A process was started, or could not be.
    Started {
        id: engine::ActionId,
        service: String,
        resource: String,
        result: Result<Process, String>,
    },
    /// Nothing of a resource is left, or it could not be stopped.
    Stopped { id: engine::ActionId, result: Result<(), String> },
    /// What was killed of a service in the guard's place, with what could not be.
    StoodIn { service: String, trouble: Option<String> },
    /// The hosts file has changed.
    Hosts(config::hosts::Hosts),
    /// The interfaces among those asked about that take only what would be answered over the same one.
    Strict(Vec<String>),
    /// A receipt for a datagram of somebody who discovers: from this own address, to that one.
    Receipt { local: std::net::SocketAddr, to: std::net::SocketAddr, bytes: Vec<u8> },
    /// The gate on the interfaces, or why that cannot be seen.
    Attached { question: u64, result: Result<Vec<Attached>, String> },
    /// What a thread that asks an arbiter has to tell.
    Arbiter(crate::arbiter::News),
    /// A fence agent has ended, or was ended.
    Fence { run: u64, answer: node::FenceAnswer },
    /// The agents of a node were checked.
    FenceVerified { question: u64, checks: Vec<api::v1::FenceCheck> },
    /// A file system was mounted, or disks were reserved, or could not be.
    Mounted {
        id: engine::ActionId,
        service: String,
        resource: String,
        /// What it does now, in words.
        did: &'static str,
        result: Result<(), String>,
    },
    /// A mounted file system does not work any more, or disks are lost.
    MountBroken { service: String, resource: String, reason: String },
    /// On these networks no gateway answers.
    Gateways(std::collections::BTreeSet<base::NetworkId>),
    /// A part of what a configuration asks of this node was looked into.
    Checked { look: u64, facts: Vec<crate::node_check::Fact> },
    /// A hook has ended, or was ended.
    Hook(hooks::Report),
    /// The hooks before a switch are over.
    HooksOver { operation: u64 },
    /// What gateways that were asked about a service address did.
    Learned {
        question: u64,
        address: std::net::IpAddr,
        result: Result<Vec<(std::net::IpAddr, network::Echo)>, String>,
    },
    /// A line for the journal.
    Said(String),
    /// Something went wrong that concerns no single act.
    Trouble(String),
}

/// The configuration, the key or the node's name cannot be used, and will not be at the next start
/// either: the findings for people, as whole lines.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// Runs the daemon until it has left.
///
/// # Errors
/// [`Unusable`] when the configuration, the key or the node's name cannot be used. Anything else
/// when the node's memory cannot be read, or the kernel refuses what a daemon cannot do without.
pub fn run(options: &Options) -> Result<ExitCode> {
    let root = files::Root::new(&options.root);
    let store = Store::open(&root.state())?;
    let cluster = load_configuration(&root, &store)?;
    let local = files::local_node(&root, &cluster).map_err(explain)?;
    let mut cluster = cluster;
    let hosts = config::hosts::Hosts::read(&root).unwrap_or_default();
    for why in hosts.resolve(&mut cluster) {
        eprintln!("mainstay: {why}\n  help: {}", why.help);
    }
    let own = files::read_paths(&root).map_err(explain)?;
    let (cluster, unusable) = config::own::with_own(cluster, &own, local);
    for sentence in unusable {
        eprintln!("mainstay: {}: {sentence}", root.paths().display());
    }
    let key = files::read_key(&root).map_err(explain)?;
    let memory = disk::load_state(&store)?;
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
    let (mut gate, mut attachments, mut pusher) = (None, None, None);
    if let Some(numbers) = shared.gate() {
        let programs = DaemonGate::inherit(&tree, numbers).context("take over the lease gate")?;
        (gate, attachments) = (Some(programs.0), Some(programs.1));
    } else if matches!(shared.guard().promises.gated, Gated::Sets { .. }) {
        let sets = DaemonGate::inherit_sets(&tree).context("take over the lease gate")?;
        (gate, pusher) = (Some(sets.0), Some(sets.1));
    }
    let mut cover = Cover::new(shared, gate);
    let records = records::Records::new(&root);
    let keys = reservations::Keys {
        own: os::reservation::Key::of_node(cluster.id, local.0),
        names: cluster.nodes.iter().map(|node| (node.id.0, node.name.clone())).collect(),
    };
    let mut left = look_for_leftovers(&cluster, &keys, &records, &containment, &mut cover)?;

    let mut entropy = [0; 16];
    os::clock::random(&mut entropy);
    let mut seed = [0; 8];
    os::clock::random(&mut seed);
    let replaced = read_replaced(&root)?;
    let birth = node::Birth {
        local: Member { node: local, incarnation },
        cluster: convert::cluster(&cluster, local),
        keys: [Some(key.0), None],
        entropy,
        seed: u64::from_be_bytes(seed),
        record: memory.record,
        found: std::mem::take(&mut left.found),
        taken: replaced.taken(),
        certified,
    };
    let Leftovers { processes, remains, writers, .. } = left;
    let start = drive::Start {
        root,
        tree,
        store,
        cluster,
        hosts,
        own,
        cover,
        attachments,
        pusher,
        replaced,
        containment,
        processes,
        remains,
        writers,
        keys,
        records,
        birth,
    };
    drive::Daemon::start(start)?.run()
}

/// What service addresses took from interfaces when a former life of this daemon ended.
fn read_replaced(root: &files::Root) -> Result<replaced::Replaced> {
    let mut netlink = os::netlink::Netlink::open().context("open a netlink socket")?;
    let interfaces = netlink.interfaces().context("look at the interfaces")?;
    let read = replaced::Replaced::read(root, &interfaces);
    let (replaced, wrong) = read.context("read what was taken from interfaces")?;
    for sentence in wrong {
        eprintln!("mainstay: {sentence}");
    }
    Ok(replaced)
}

/// The configuration and its version. A file that was edited by hand counts as newer than what
/// was agreed on; in a running cluster the agreed one wins and is written back.
fn load_configuration(root: &files::Root, store: &Store) -> Result<Cluster> {
    let text = files::read_cluster(root).map_err(explain)?;
    let mut cluster = parse(root, &text, 1)?;
    let agreed: Option<disk::Agreed> = disk::load(store, disk::AGREED)?;
    let pending: Option<disk::Agreed> = disk::load(store, disk::PENDING)?;
    let agreed_version = agreed.as_ref().map_or(1, |agreed| agreed.version);
    let pending = pending.filter(|pending| pending.version > agreed_version);
    let is_agreed = agreed.as_ref().is_none_or(|agreed| agreed.checksum == cluster.checksum);
    match pending {
        // The file was replaced, and then the power went.
        Some(pending) if pending.checksum == cluster.checksum => {
            cluster.version = pending.version;
        }
        // Every member held it when it was on its way; the newest durable one is the one to go on
        // with.
        Some(pending) if is_agreed => {
            cluster = parse(root, &pending.text, pending.version)?;
        }
        _ if is_agreed => cluster.version = agreed_version,
        _ => {
            eprintln!(
                "mainstay: {} differs from version {agreed_version} that the cluster agreed on: \
                 taken as version {}",
                root.cluster().display(),
                agreed_version + 1
            );
            cluster.version = agreed_version + 1;
        }
    }
    Ok(cluster)
}

fn parse(root: &files::Root, text: &str, version: u64) -> Result<Cluster> {
    let file = root.cluster().display().to_string();
    match config::parse(text, &file, version) {
        Ok((cluster, _warnings)) => Ok(cluster),
        Err(diagnostics) => bail!(Unusable(diagnostics.render(false))),
    }
}

fn explain(error: files::FileError) -> anyhow::Error {
    Unusable(format!("mainstay: {error}\n  help: {}\n", error.help)).into()
}

/// A process that lives, with the service and the resource that it is.
type Living = (String, String, Process);

/// A file system that is mounted, or may be; or disks that are reserved, or may be.
struct LeftWriter {
    service: String,
    resource: engine::Resource,
    trace: mounts::Trace,
    /// Why it counts as there although nobody sees that it is.
    doubt: Option<String>,
}

/// What a former life of this daemon left.
#[derive(Default)]
struct Leftovers {
    /// The resources of which anything is here.
    found: Vec<Found>,
    /// Those that run.
    processes: Vec<Living>,
    /// Those whose first process has ended: service and resource.
    remains: Vec<(String, String)>,
    /// What may write: disks that are reserved, or may be, then file systems that are mounted, or may be.
    writers: Vec<LeftWriter>,
    /// Service and resource of what is on record and not there.
    gone: Vec<(String, String)>,
}

/// What a former life of this daemon left running under the guard: it is adopted if the
/// configuration still knows it, and killed if not.
fn look_for_leftovers(
    cluster: &Cluster,
    keys: &reservations::Keys,
    records: &records::Records,
    containment: &Containment,
    cover: &mut Cover,
) -> Result<Leftovers> {
    let interfaces = os::netlink::Netlink::open()
        .context("netlink")?
        .interfaces()
        .context("look at the interfaces")?;
    let mut left = Leftovers::default();
    for entry in cover.shared().entries() {
        let name = entry.description.service;
        let service = cluster.services.iter().find(|service| service.name == name);
        let held = &entry.description.processes;
        let configured = service.map_or(&[][..], |service| &service.resources);
        for resource in configured {
            if !matches!(resource.kind, ResourceKind::Process { .. }) {
                continue;
            }
            let one = held.iter().find(|held| held.resource == resource.name);
            match agents::look(containment, &name, &resource.name, one)? {
                agents::Left::Nothing => cover.ended(&name, &resource.name),
                agents::Left::Running(process) => {
                    left.found.push(Found { service: name.clone(), resource: resource.clone() });
                    left.processes.push((name.clone(), resource.name.clone(), process));
                }
                // It is held here until it is confirmed to be gone, and the engine will see to it.
                agents::Left::Remains => {
                    left.found.push(Found { service: name.clone(), resource: resource.clone() });
                    left.remains.push((name.clone(), resource.name.clone()));
                }
            }
        }
        for gone in held.iter().filter(|held| !configured.iter().any(|r| r.name == held.resource)) {
            // The guard keeps it under its deadline until it is gone.
            containment.kill(&name, Some(&gone.resource))?;
        }
        let resource =
            |is: &dyn Fn(&engine::Resource) -> bool| configured.iter().find(|one| is(one)).cloned();
        for held in &entry.description.addresses {
            let on = interfaces.iter().find(|interface| interface.index == held.interface);
            let is_there =
                on.is_some_and(|on| on.addresses.iter().any(|a| a.address == held.address));
            let known = resource(
                &|one| matches!(&one.kind, ResourceKind::Address { address, .. } if *address == held.address),
            );
            match known {
                Some(resource) if is_there => {
                    cover.open(held.address);
                    left.found.push(Found { service: name.clone(), resource });
                }
                // What the configuration does not know any more is swept away by the network
                // layer or runs out; the guard keeps it until then.
                _ if is_there => {}
                _ => cover.removed(held.address),
            }
        }
    }
    let writing = writing(cluster, records)?;
    let lost = look_for_reservations(&writing, keys, containment, cover, &mut left)?;
    look_for_mounts(&writing, &lost, containment, cover, &mut left)?;
    for (service, resource) in left.gone.drain(..) {
        records.remove(&service, &resource).context("forget what is not there")?;
    }
    Ok(left)
}

/// A resource that may write.
struct Writing {
    service: String,
    /// As it was started, if that is on record.
    resource: engine::Resource,
    is_recorded: bool,
}

/// What may write here: what was started, whatever the configuration says by now, and what it names.
fn writing(cluster: &Cluster, records: &records::Records) -> Result<Vec<Writing>> {
    let (recorded, wrong) = records.read().context("read what was mounted and reserved")?;
    for sentence in wrong {
        eprintln!("mainstay: {sentence}");
    }
    let recorded = recorded.into_iter();
    let mut all: Vec<Writing> = recorded
        .map(|(service, resource)| Writing { service, resource, is_recorded: true })
        .collect();
    for service in &cluster.services {
        for resource in service.resources.iter().filter(|one| one.kind.is_storage()) {
            let is_it =
                |one: &Writing| one.service == service.name && one.resource.name == resource.name;
            if !all.iter().any(is_it) {
                let (service, resource) = (service.name.clone(), resource.clone());
                all.push(Writing { service, resource, is_recorded: false });
            }
        }
    }
    Ok(all)
}

/// Which disks are reserved here. Gives the services whose disks are not, though they should be for anything
/// to be mounted from them. What nobody has started in this life of the machine is not in use, whosever the
/// disk is.
fn look_for_reservations(
    writing: &[Writing],
    keys: &reservations::Keys,
    containment: &Containment,
    cover: &mut Cover,
    left: &mut Leftovers,
) -> Result<BTreeSet<String>> {
    let is_one = |one: &&Writing| matches!(one.resource.kind, ResourceKind::Reservation { .. });
    let asked: Vec<&Writing> = writing.iter().filter(is_one).collect();
    let names: Vec<(&str, &engine::Resource)> =
        asked.iter().map(|one| (one.service.as_str(), &one.resource)).collect();
    let looked = reservations::left::look_all(writers::PROGRAM.as_ref(), containment, keys, &names)
        .context("look at what is reserved")?;
    let mut lost = BTreeSet::new();
    for (one, looked) in asked.into_iter().zip(looked) {
        let Writing { service, resource, is_recorded } = one;
        use reservations::left::Left;
        // What was mounted before its disks were to be reserved is mounted without that.
        let is_new = !is_recorded
            && writing.iter().any(|other| other.service == *service && other.is_recorded);
        if looked != Left::Held && !is_new {
            lost.insert(service.clone());
        }
        let doubt = match looked {
            _ if !is_recorded => continue,
            Left::Nothing => {
                left.gone.push((service.clone(), resource.name.clone()));
                continue;
            }
            Left::Held => None,
            Left::Unknown(why) => Some(why),
        };
        let group = containment.group_path(service);
        cover.remains(service, &resource.name, group).map_err(anyhow::Error::msg)?;
        left.found.push(Found { service: service.clone(), resource: resource.clone() });
        let (service, resource) = (service.clone(), resource.clone());
        let trace = mounts::Trace::default();
        left.writers.push(LeftWriter { service, resource, trace, doubt });
    }
    Ok(lost)
}

/// Whatever became of those who mounted it, guard included: what is mounted here can write, seen or not.
fn look_for_mounts(
    writing: &[Writing],
    lost: &BTreeSet<String>,
    containment: &Containment,
    cover: &mut Cover,
    left: &mut Leftovers,
) -> Result<()> {
    let entries = cover.shared().entries();
    let was_held = |service: &str| {
        entries
            .iter()
            .any(|entry| entry.description.storage && entry.description.service == service)
    };
    let is_mount = |one: &&Writing| matches!(one.resource.kind, ResourceKind::Mount { .. });
    let writing: Vec<&Writing> = writing.iter().filter(is_mount).collect();
    let asked: Vec<mounts::Asked<'_>> = (writing.iter())
        .map(|one| mounts::Asked {
            service: &one.service,
            resource: &one.resource,
            was_held: was_held(&one.service),
        })
        .collect();
    let looked = mounts::look_all(writers::PROGRAM.as_ref(), containment, &asked)
        .context("look at what is mounted")?;
    for (Writing { service, resource, is_recorded }, looked) in writing.into_iter().zip(looked) {
        let (trace, doubt) = match looked {
            mounts::Left::Nothing => {
                if *is_recorded {
                    left.gone.push((service.clone(), resource.name.clone()));
                }
                continue;
            }
            mounts::Left::Mounted(trace) if lost.contains(service) => {
                let why = "is mounted, and its disks are not reserved any more: others may have \
                           written to them";
                (trace, Some(why.to_owned()))
            }
            mounts::Left::Mounted(trace) => (trace, None),
            mounts::Left::Remains(trace, why) => (trace, Some(why)),
        };
        let group = containment.group_path(service);
        cover.remains(service, &resource.name, group).map_err(anyhow::Error::msg)?;
        left.found.push(Found { service: service.clone(), resource: resource.clone() });
        let (service, resource) = (service.clone(), resource.clone());
        left.writers.push(LeftWriter { service, resource, trace, doubt });
    }
    Ok(())
}

/// The name of a node for people.
fn name_of(cluster: &node::Cluster, id: NodeId) -> String {
    cluster.name(id)
}

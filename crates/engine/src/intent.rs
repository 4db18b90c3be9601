//! What operators want to run, and where: the configuration as the engine sees it.
//!
//! The program reads a file for people and makes an [`Intent`] of it; the engine replicates the
//! intent with its text, and every member plans with the same one. A service is a list of
//! resources, started in order and stopped in reverse, on a list of nodes of which the first that
//! may run it does.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use base::limits::{NAME_SIZE_MAX, NODES_MAX, RESOURCES_PER_SERVICE_MAX, SERVICES_MAX};
use base::{NetworkId, NodeId, NodeSet};
use minicbor::{Decode, Encode};

use crate::class::Class;
use crate::jeopardy::Jeopardy;

/// Restarts that a service may allow within its window; each is a stamp in the replicated state.
pub const RESTARTS_MAX: u32 = 100;

/// The engine's part of the configuration, equal on all members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Intent {
    /// All configured nodes.
    #[n(0)]
    pub nodes: Vec<NodeSpec>,
    /// All configured services.
    #[n(1)]
    pub services: Vec<Service>,
    /// Grows by one with each accepted change.
    #[n(2)]
    pub version: u64,
    /// Of the configuration text, made by whoever read it; opaque here.
    #[n(3)]
    pub checksum: u64,
    /// What becomes of the services of a node that was lost with its last path; takeover when nothing
    /// is said.
    #[n(4)]
    pub jeopardy: Option<Jeopardy>,
}

/// A configured node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeSpec {
    /// Its number, never given to another node.
    #[n(0)]
    pub id: NodeId,
    /// What people call it.
    #[n(1)]
    pub name: String,
}

/// A service: what users know, and what moves as one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Service {
    /// Its name, unique in the cluster.
    #[n(0)]
    pub name: String,
    /// Where it may run, the preferred node first.
    #[n(1)]
    pub nodes: Vec<NodeId>,
    /// What it consists of, in start order; stopped in reverse.
    #[n(2)]
    pub resources: Vec<Resource>,
    /// The mode on nodes for which the operator has said nothing.
    #[n(3)]
    pub mode: Mode,
    /// Whether it goes back to a node earlier in its list when that one returns.
    #[n(4)]
    pub failback: Failback,
    /// How often it is started again in place before it moves.
    #[n(5)]
    pub restart: RestartLimit,
    /// For the start of all its resources together.
    #[n(6)]
    pub start_timeout: Duration,
    /// For the orderly stop of one resource, before it is killed.
    #[n(7)]
    pub stop_timeout: Duration,
    /// What it weighs: of two halves of a cluster, the one that runs more goes on. At most
    /// [`PRIORITY_MAX`].
    #[n(8)]
    pub priority: u16,
    /// What frees it when its node is lost, where the configuration says so; else its resources do.
    #[n(9)]
    pub class: Option<Class>,
    /// Whether its addresses stay on the primary interfaces of a node: when one fails, the service goes
    /// to another node instead of to a standby interface.
    #[n(10)]
    pub is_fixed: bool,
    /// Networks without which it is of no use: a node on which one of them is down does not run it.
    #[n(11)]
    pub networks: Vec<NetworkId>,
}

/// The weight of a service of which nothing is said.
pub const PRIORITY_DEFAULT: u16 = 100;
/// The greatest weight.
pub const PRIORITY_MAX: u16 = 1000;

/// A part of a service that one agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Resource {
    /// Its name, unique in the service.
    #[n(0)]
    pub name: String,
    /// What it is.
    #[n(1)]
    pub kind: ResourceKind,
}

/// The kinds of resources.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ResourceKind {
    /// A floating address.
    #[n(0)]
    Address {
        /// The address.
        #[n(0)]
        address: IpAddr,
        /// Prefix length of its subnet, in bits.
        #[n(1)]
        prefix: u8,
    },
    /// A supervised process.
    #[n(1)]
    Process {
        /// Program and arguments; not empty.
        #[n(0)]
        command: Vec<String>,
        /// Working directory; `/` when none.
        #[n(1)]
        directory: Option<String>,
        /// Added to the environment, in order.
        #[n(2)]
        environment: Vec<(String, String)>,
        /// Whom it runs as; the daemon's user when none.
        #[n(3)]
        user: Option<String>,
    },
    /// A file system on a device that several machines can write to.
    #[n(2)]
    Mount {
        /// The device: a path, `UUID=…` or `LABEL=…`.
        #[n(0)]
        device: String,
        /// Where it is mounted.
        #[n(1)]
        directory: String,
        /// The kind of file system, as the kernel calls it.
        #[n(2)]
        filesystem: String,
        /// Options of the mount, with commas; empty for none.
        #[n(3)]
        options: String,
        /// When it is checked first.
        #[n(4)]
        check: Check,
    },
    /// Shared disks that are reserved, so that nobody else can write to them.
    #[n(3)]
    Reservation {
        /// The disks: whole ones, by paths.
        #[n(0)]
        disks: Vec<String>,
    },
}

/// When a file system is checked before it is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Check {
    /// Not at all.
    #[n(0)]
    Never,
    /// When the file system says that it needs it.
    #[default]
    #[n(1)]
    Auto,
    /// Each time, all of it.
    #[n(2)]
    Always,
}

impl Check {
    /// The name in files and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Check::Never => "never",
            Check::Auto => "auto",
            Check::Always => "always",
        }
    }
}

impl ResourceKind {
    /// Whether it is about what the end of a process or of an address does not end: writes to a disk.
    #[must_use]
    pub const fn is_storage(&self) -> bool {
        match self {
            ResourceKind::Mount { .. } | ResourceKind::Reservation { .. } => true,
            ResourceKind::Address { .. } | ResourceKind::Process { .. } => false,
        }
    }
}

/// Whether a service may be started on a node without being told so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Mode {
    /// The engine may start it there.
    #[default]
    #[n(0)]
    Automatic,
    /// Only an operator's start that names the node starts it there.
    #[n(1)]
    Manual,
}

impl Mode {
    /// The name in files, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Automatic => "automatic",
            Mode::Manual => "manual",
        }
    }
}

/// Whether a service returns to a preferred node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Failback {
    /// It stays where it is until it must move.
    #[default]
    #[n(0)]
    Never,
    /// It goes back as soon as a node earlier in its list can run it.
    #[n(1)]
    Automatic,
}

/// How many failures are answered by a restart in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RestartLimit {
    /// Restarts allowed within the window; 0 moves at the first failure.
    #[n(0)]
    pub count: u32,
    /// How long a failure counts, on the clock of the node where it happened. So long without a
    /// failure also forgives all earlier ones.
    #[n(1)]
    pub window: Duration,
}

impl Intent {
    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// All services by their names, for who looks up many.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<&str, &Service> {
        self.services.iter().map(|service| (service.name.as_str(), service)).collect()
    }

    /// The node of that name.
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().find(|node| node.name == name).map(|node| node.id)
    }

    /// What people call the node; its number when it is not configured (any more).
    #[must_use]
    pub fn name_of(&self, node: NodeId) -> String {
        let spec = self.nodes.iter().find(|spec| spec.id == node);
        spec.map_or_else(|| node.to_string(), |spec| spec.name.clone())
    }

    /// The names of these nodes, as in "n1, n2 and n3".
    #[must_use]
    pub fn names_of(&self, nodes: NodeSet) -> String {
        list(nodes.into_iter().map(|node| self.name_of(node)))
    }

    /// All configured nodes.
    #[must_use]
    pub fn node_set(&self) -> NodeSet {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// Refuses what no planner could work with: duplicate names, unknown nodes, empty lists, and
    /// whatever is beyond a limit.
    ///
    /// # Errors
    /// The first defect, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        let name = |what: &str, name: &str| match name.len() {
            0 => Err(format!("a {what} has no name")),
            1..=NAME_SIZE_MAX => Ok(()),
            _ => Err(format!("the name of {what} {name} is longer than {NAME_SIZE_MAX} bytes")),
        };
        if self.services.len() > SERVICES_MAX {
            return Err(format!("more than {SERVICES_MAX} services"));
        }
        let (mut ids, mut names) = (NodeSet::EMPTY, BTreeSet::new());
        for node in &self.nodes {
            name("node", &node.name)?;
            if usize::from(node.id.0) >= NODES_MAX {
                return Err(format!("the id of node {} is not below {NODES_MAX}", node.name));
            }
            if !ids.insert(node.id) {
                return Err(format!("two nodes have the id {}", node.id.0));
            }
            if !names.insert(&node.name) {
                return Err(format!("two nodes are called {}", node.name));
            }
        }
        let mut names = BTreeSet::new();
        for service in &self.services {
            name("service", &service.name)?;
            if !names.insert(&service.name) {
                return Err(format!("two services are called {}", service.name));
            }
            service.check(ids)?;
        }
        Ok(())
    }
}

impl Service {
    fn check(&self, configured: NodeSet) -> Result<(), String> {
        let name = &self.name;
        let mut seen = NodeSet::EMPTY;
        for node in &self.nodes {
            if usize::from(node.0) >= NODES_MAX || !configured.contains(*node) {
                return Err(format!("service {name} names a node that is not configured: {node}"));
            }
            if !seen.insert(*node) {
                return Err(format!("service {name} names a node twice: {node}"));
            }
        }
        if seen.is_empty() {
            return Err(format!("service {name} has no node"));
        }
        if self.resources.is_empty() || self.resources.len() > RESOURCES_PER_SERVICE_MAX {
            return Err(format!(
                "service {name} has {} resources; 1 to {RESOURCES_PER_SERVICE_MAX} are possible",
                self.resources.len()
            ));
        }
        if self.restart.count > RESTARTS_MAX {
            return Err(format!("service {name} allows more than {RESTARTS_MAX} restarts"));
        }
        let mut names = BTreeSet::new();
        for resource in &self.resources {
            if resource.name.is_empty() || resource.name.len() > NAME_SIZE_MAX {
                return Err(format!("service {name} has a resource without a usable name"));
            }
            if !names.insert(&resource.name) {
                return Err(format!("service {name} has two resources called {}", resource.name));
            }
            if matches!(&resource.kind, ResourceKind::Process { command, .. } if command.is_empty())
            {
                return Err(format!("{name}/{} has an empty command", resource.name));
            }
        }
        Ok(())
    }
}

/// "a, b and c".
pub(crate) fn list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<S> = items.into_iter().collect();
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push_str(if index + 1 == items.len() { " and " } else { ", " });
        }
        text.push_str(item.as_ref());
    }
    text
}

/// The name that was probably meant: the one with the fewest edits, if these are few and no other
/// name is as near.
#[must_use]
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // More than a third of the letters wrong is another word, not a slip.
    let near = (wanted.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| (edits(wanted, name), name))
        .filter(|(edits, _)| *edits <= near)
        .collect();
    found.sort_unstable();
    match found[..] {
        [(best, name), (second, _), ..] if best < second => Some(name),
        [(_, name)] => Some(name),
        _ => None,
    }
}

/// Levenshtein's distance: letters to insert, remove or replace.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(NAME_SIZE_MAX).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(NAME_SIZE_MAX + 1).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

//! What the configuration of a torture says, and what is changed in it by lot.
//!
//! A configuration is a function of its number and of the draws before: what is changed adds up, whether the
//! cluster took the former changes or not. So whatever a cluster says that is in force can be compared with
//! what was asked for under that number, to the letter.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::chance::Chance;
use super::{HOLD, Order, START_WAIT};
use crate::arbiters::{self, Tie};
use crate::cluster::{Cluster, Service};
use crate::lab::Lab;
use crate::stamps::Book;

/// Services that are always there.
const STAYING: usize = 3;
/// With the one that comes and goes.
pub(super) const SERVICES: usize = STAYING + 1;
/// The first service's port.
const PORT: u16 = 7710;

pub(super) fn service_name(index: usize) -> String {
    format!("s{index}")
}

/// Each has two: see [`crate::responder::stream_port`].
pub(super) fn service_port(index: usize) -> u16 {
    PORT + 2 * index as u16
}

pub(super) fn service_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 100 + index as u8)
}

/// What may be said of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuning {
    /// At which node its list begins.
    turn: usize,
    priority: u64,
    /// Seconds.
    start_timeout: u64,
    stop_timeout: u64,
    restarts: u64,
}

/// What a configuration says beside what never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    services: [Tuning; SERVICES],
    /// Whether the last service is there.
    is_complete: bool,
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The list of its nodes begins with that one (counted from 0).
    Order {
        service: usize,
        turn: usize,
    },
    Priority {
        service: usize,
        priority: u64,
    },
    /// In seconds.
    Timeouts {
        service: usize,
        start: u64,
        stop: u64,
    },
    Restarts {
        service: usize,
        count: u64,
    },
    /// The last service comes.
    Add,
    /// It goes.
    Remove,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Order { service, turn } => {
                write!(f, "the nodes of {} begin with n{}", service_name(*service), turn + 1)
            }
            Self::Priority { service, priority } => {
                write!(f, "{} gets priority {priority}", service_name(*service))
            }
            Self::Timeouts { service, start, stop } => {
                let name = service_name(*service);
                write!(f, "{name} may take {start} s to start and {stop} s to stop")
            }
            Self::Restarts { service, count } => {
                write!(f, "{} may be restarted {count} times", service_name(*service))
            }
            Self::Add => write!(f, "{} is added", service_name(STAYING)),
            Self::Remove => write!(f, "{} is removed", service_name(STAYING)),
        }
    }
}

impl Settings {
    /// Those that a cluster begins with.
    pub(super) fn first() -> Self {
        // Each begins its list at another node.
        let tuning =
            |turn| Tuning { turn, priority: 100, start_timeout: 60, stop_timeout: 60, restarts: 3 };
        Self { services: std::array::from_fn(tuning), is_complete: false }
    }

    /// How many services there are.
    pub(super) fn count(&self) -> usize {
        if self.is_complete { SERVICES } else { STAYING }
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<String> {
        (0..self.count()).map(service_name).collect()
    }

    /// The next change.
    pub(super) fn draw(&self, nodes: usize, chance: &mut Chance) -> Change {
        let service = chance.below(self.count());
        let number = |chance: &mut Chance, least: u64, most: u64| {
            least + chance.below((most - least + 1) as usize) as u64
        };
        match chance.below(8) {
            0 | 1 => {
                // Always another one than now.
                let turn = self.services[service].turn + 1 + chance.below(nodes - 1);
                Change::Order { service, turn: turn % nodes }
            }
            2 => Change::Priority { service, priority: number(chance, 1, 1_000) },
            3 => {
                // Longer than a starved machine takes: what is under test is the change.
                let (start, stop) = (number(chance, 20, 90), number(chance, 20, 90));
                Change::Timeouts { service, start, stop }
            }
            4 => Change::Restarts { service, count: number(chance, 2, 9) },
            _ if self.is_complete => Change::Remove,
            _ => Change::Add,
        }
    }

    /// With a change.
    pub(super) fn with(&self, change: Change) -> Self {
        let mut changed = self.clone();
        match change {
            Change::Order { service, turn } => changed.services[service].turn = turn,
            Change::Priority { service, priority } => changed.services[service].priority = priority,
            Change::Timeouts { service, start, stop } => {
                changed.services[service].start_timeout = start;
                changed.services[service].stop_timeout = stop;
            }
            Change::Restarts { service, count } => changed.services[service].restarts = count,
            Change::Add => changed.is_complete = true,
            Change::Remove => changed.is_complete = false,
        }
        changed
    }

    /// The cluster of that configuration.
    pub(super) fn cluster(&self, lab: &Lab, order: &Order, book: &Book) -> Result<Cluster> {
        let nodes = lab.node_names();
        let service = |index: usize| {
            let Tuning { turn, priority, start_timeout, stop_timeout, restarts } =
                self.services[index];
            let address = [("ip", format!("{}/24", service_address(index)))];
            let name = service_name(index);
            let mut service = Service::answering(lab, &name, service_port(index), address)?;
            service.write_stamps(&book.path(&name))?;
            service.nodes =
                (0..nodes.len()).map(|at| nodes[(at + turn) % nodes.len()].clone()).collect();
            service.head = format!(
                "priority = {priority}\nstart_timeout = \"{start_timeout}s\"\n\
                 stop_timeout = \"{stop_timeout}s\"\nrestart = {{ count = {restarts} }}\n"
            );
            Ok(service)
        };
        let services = (0..self.count()).map(service).collect::<Result<_>>()?;
        let tail = arbiters::tables(lab, order.tie);
        // A disk that breaks ties is no path: the nodes would hardly ever lose each other.
        let disk = lab.spec().disk && !order.tie.parts().contains(&Tie::Disk);
        // The limit for a cluster to be whole again counts with these.
        let times = format!(
            ", hold = \"{}ms\", start_wait = \"{}ms\"",
            HOLD.as_millis(),
            START_WAIT.as_millis()
        );
        Ok(Cluster { services, tail, disk, times, ..Cluster::new(&order.detection) })
    }

    /// Its text, with its number.
    pub(super) fn text(
        &self,
        number: u64,
        lab: &Lab,
        order: &Order,
        book: &Book,
    ) -> Result<String> {
        let text = self.cluster(lab, order, book)?.text(lab.spec());
        // The first one is what the nodes find on their disks.
        let comment = if number == 0 { String::new() } else { format!("\n# number {number}\n") };
        Ok(text + &comment)
    }
}

/// The number in a configuration.
pub(super) fn number_in(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("# number "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;

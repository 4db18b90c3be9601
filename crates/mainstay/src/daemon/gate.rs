//! Which addresses are under the kernel's gate, and what it does.
//!
//! **Rule:** all service addresses of the configuration are under it on every node, wherever their
//! services run. One that the configuration has no more stays under it as long as it may still be
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::v1;
use os::event;
use os::gate::{Attached, Pusher, SlotState};
use os::shared::{GateRefused, Gated};

use super::Done;
use super::addresses::Request;
use super::drive::Daemon;
use crate::config;
use crate::serve::{Answer, Reply};

/// Real-time priority of the thread that extends open times: below that of the guard's threads.
const PUSHER_PRIORITY: u8 = 45;

/// Questions that may wait for the kernel.
const SURVEYS_MAX: usize = 16;

impl Daemon {
    /// Has the right addresses under the gate, after the configuration or the interfaces changed.
    pub(super) fn mind_gate(&mut self) {
        let mut wanted: BTreeSet<IpAddr> = self.cluster.service_addresses().collect();
        wanted.extend(self.cover.addresses());
        let interfaces = self.interfaces.iter().flat_map(|interface| &interface.addresses);
        let here: BTreeSet<IpAddr> = interfaces.map(|seen| seen.address).collect();
        // Nobody has looked yet: anything may be here.
        let is_unknown = self.interfaces.is_empty();
        let Some(gate) = self.cover.gate() else { return };
        let known: BTreeSet<IpAddr> =
            gate.slots().into_iter().map(|(address, _)| address).collect();
        wanted.extend(known.iter().filter(|address| is_unknown || here.contains(address)));
        if wanted == known {
            return;
        }
        match gate.sync(&wanted) {
            Ok(()) => self.request(Request::Gate),
            Err(error) => self.say_once(format!(
                "the lease gate does not take all service addresses, so some are not closed when this \
                 node is stopped: {error}"
            )),
        }
    }

    /// What the kernel has, as soon as it said where the gate is.
    pub(super) fn show_gate(&mut self, answer: Answer) {
        self.surveys.retain(|_, answer| !answer.is_abandoned());
        if self.surveys.len() >= SURVEYS_MAX {
            let busy = "the kernel does not answer where the lease gate is";
            return answer.send(Err(v1::Error::new(v1::ErrorCode::Busy, busy)));
        }
        self.last_request += 1;
        let question = self.last_request;
        self.surveys.insert(question, answer);
        self.request(Request::Survey { question });
    }

    /// The kernel has said where the gate is.
    pub(super) fn attached(&mut self, question: u64, result: Result<Vec<Attached>, String>) {
        let Some(answer) = self.surveys.remove(&question) else { return };
        answer.send(match result {
            Ok(attached) => Ok(Reply::Gate(self.gate_report(attached))),
            Err(said) => Err(v1::Error::new(v1::ErrorCode::Refused, said)),
        });
    }

    fn gate_report(&mut self, attached: Vec<Attached>) -> v1::Gate {
        let owners: BTreeMap<IpAddr, String> = (self.cluster.services.iter())
            .flat_map(|service| {
                config::addresses_of(service).map(|address| (address, service.name.clone()))
            })
            .collect();
        let reason = match self.cover.guard().promises.gated {
            Gated::Programs => None,
            Gated::Sets { programs } => Some(os::gate::reason(programs)),
            Gated::Nothing { programs, sets } => Some(no_gate(programs, sets)),
        };
        let now = os::clock::boottime();
        let addresses = self.cover.gate().map(|gate| {
            let slots = gate.slots().into_iter();
            slots.map(|(address, slot)| shown(address, slot, &owners, now)).collect()
        });
        v1::Gate {
            schema: v1::SCHEMA,
            node: self.cluster.name_of(self.node.local().node),
            kind: self.gate_kind(),
            reason,
            interfaces: attached.into_iter().map(interface).collect(),
            addresses: addresses.unwrap_or_default(),
        }
    }

    /// What the guard was refused about the gate, in words.
    pub(super) fn gate_refused(&self, refused: GateRefused) -> String {
        let reason = os::gate::reason(refused.errno);
        if refused.interface == 0 {
            return format!(
                "the guard cannot see whether the lease gate is on all interfaces: {reason}"
            );
        }
        let name = self.interface_called(refused.interface);
        format!(
            "interface {name} is without the lease gate, or has half of it ({reason}): through it a service \
             address may go on answering when this node is stopped"
        )
    }

    /// That others are asked before the gate, in words.
    pub(super) fn gate_behind(&self, interface: u32) -> String {
        let name = self.interface_called(interface);
        format!(
            "interface {name}: a program of somebody else is asked before the lease gate, and what it lets \
             through the gate does not see: a service address may go on answering after its lease"
        )
    }

    fn interface_called(&self, index: u32) -> String {
        let named = self.interfaces.iter().find(|one| one.index == index);
        named.map_or_else(|| index.to_string(), |one| one.name.clone())
    }

    pub(super) fn gate_kind(&self) -> v1::GateKind {
        match self.cover.guard().promises.gated {
            Gated::Programs => v1::GateKind::Kernel,
            Gated::Sets { .. } => v1::GateKind::Nftables,
            Gated::Nothing { .. } => v1::GateKind::None,
        }
    }
}

/// Why there is no gate at all.
pub(super) fn no_gate(programs: i32, sets: i32) -> String {
    let reason = os::gate::reason;
    format!("programs: {}; nftables: {}", reason(programs), reason(sets))
}

/// Starts the thread that hands deadlines to nftables: it may wait for others who use them, and the loop may
/// not. It ends with its process.
///
/// # Errors
/// When the kernel gives no thread.
pub(super) fn start_pusher(mut pusher: Pusher, done: event::Sender<Done>) -> std::io::Result<()> {
    std::thread::Builder::new().name("gate".into()).spawn(move || {
        // What it cannot have it goes without; then it is late on a busy machine, and closes early.
        let _less = os::realtime::round_robin(PUSHER_PRIORITY);
        loop {
            let due = pusher.turn().unwrap_or_else(|error| {
                let error = anyhow::Error::from(error);
                let _ending =
                    done.send_waiting(Done::Trouble(format!("the lease gate: {error:#}")));
                os::clock::boottime() + Pusher::RETRY
            });
            if !pusher.wait(due) {
                return;
            }
        }
    })?;
    Ok(())
}

fn interface(attached: Attached) -> v1::GateInterface {
    use v1::GateAttachment as To;
    let state = match (attached.is_port, attached.ingress, attached.egress) {
        (true, ..) => To::Port,
        (_, true, true) => To::Both,
        (_, true, false) => To::In,
        (_, false, true) => To::Out,
        (_, false, false) => To::Missing,
    };
    v1::GateInterface { name: attached.name, state, before: attached.before }
}

fn shown(
    address: IpAddr,
    slot: SlotState,
    owners: &BTreeMap<IpAddr, String>,
    now: base::Instant,
) -> v1::GateAddress {
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let open = slot.open_until(now);
    v1::GateAddress {
        address: address.to_string(),
        service: owners.get(&address).cloned(),
        open_ms: open.map(|until| millis(until.since(now))),
        passed: slot.passed,
        dropped: slot.dropped,
    }
}

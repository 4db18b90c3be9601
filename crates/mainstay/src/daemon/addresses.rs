//! Interfaces and addresses, away from the loop: netlink requests wait for the kernel, and on a
//! machine that is short of CPU the kernel may take its time.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use base::Instant;
use os::event;
use os::gate::{Attachments, Custody};
use os::netlink::Netlink;

use network::{Failure, Taking};

use super::Done;
use super::replaced::{Given, Replaced};
use crate::config::files::Root;
use crate::config::hosts::Hosts;

mod failures;
#[cfg(test)]
mod tests;

/// Requests that may wait.
const REQUESTS_MAX: usize = 4096;
/// How long an addition waits until its address is under the gate: others may have the lock of nftables.
/// What else there is to do waits as well, so the next ones do not wait again.
const GATE_PATIENCE: Duration = Duration::from_millis(500);
/// For how long they do not.
const GATE_PAUSE: Duration = Duration::from_secs(1);
/// How often the hosts file is read.
const HOSTS_INTERVAL: Duration = Duration::from_secs(2);

/// What the loop wants done.
#[derive(Debug)]
pub(super) enum Request {
    /// Look at all interfaces again.
    Look,
    /// Add an address while the lease lasts; answered by its operation.
    Add {
        operation: u64,
        interface: u32,
        address: IpAddr,
        prefix: u8,
        lifetime: Duration,
        until: Instant,
        taking: Taking,
        /// None where the kernel has no gate.
        custody: Option<Custody>,
    },
    /// Extend one while the lease lasts; not answered.
    Refresh { interface: u32, address: IpAddr, prefix: u8, lifetime: Duration, until: Instant },
    /// Add or extend an alias of a network; the kernel's picture answers.
    Keep { interface: u32, address: IpAddr, prefix: u8, lifetime: Duration },
    /// Take an alias away; the kernel's picture answers.
    Drop { interface: u32, address: IpAddr, prefix: u8 },
    /// Put the gate on all interfaces: there are addresses to be gated.
    Gate,
    /// Say where the gate is; answered by its question.
    Survey { question: u64 },
    /// Put this node's own addresses on another interface; answered by its operation.
    Switch { operation: u64, from: u32, to: u32, addresses: Vec<(IpAddr, u8)> },
    /// Have these interfaces speak ARP for their own addresses only.
    SpeakForOwn { interfaces: Vec<String> },
    /// Say which of these interfaces take only what would be answered over the same one.
    FindStrict { interfaces: Vec<String> },
    /// Remove one, after what was taken from its interface is back if it `gives`; answered by its operation.
    Remove { operation: u64, interface: u32, address: IpAddr, prefix: u8, gives: bool },
    /// Put back what was taken from an interface; answered by its operation.
    Give { operation: u64, interface: u32 },
}

/// Starts the thread.
///
/// # Errors
/// When the kernel gives no netlink socket or no thread.
pub(super) fn start(
    root: Root,
    hosts: Hosts,
    gate: Option<Attachments>,
    replaced: Replaced,
    done: event::Sender<Done>,
) -> std::io::Result<SyncSender<Request>> {
    let netlink = Netlink::open()?;
    let (sender, requests) = sync_channel(REQUESTS_MAX);
    std::thread::Builder::new().name("addresses".into()).spawn(move || {
        let read_at = os::clock::boottime();
        let no_patience = Instant::ZERO;
        Addresses { netlink, gate, replaced, done, root, hosts, read_at, no_patience }
            .run(&requests);
    })?;
    Ok(sender)
}

struct Addresses {
    netlink: Netlink,
    /// None where the kernel has no gate.
    gate: Option<Attachments>,
    /// What service addresses took from interfaces.
    replaced: Replaced,
    done: event::Sender<Done>,
    /// The hosts file, as it was read last, and when.
    root: Root,
    hosts: Hosts,
    read_at: Instant,
    /// Until when no addition waits for the gate: one has waited in vain.
    no_patience: Instant,
}

impl Addresses {
    fn run(&mut self, requests: &Receiver<Request>) {
        self.look();
        loop {
            match requests.recv_timeout(HOSTS_INTERVAL) {
                Ok(request) => self.carry_out(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.read_hosts();
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Look => self.look(),
            Request::Add {
                operation,
                interface,
                address,
                prefix,
                lifetime,
                until,
                taking,
                custody,
            } => {
                // An interface that came a moment ago may be without the gate.
                let gated = self.gate.as_mut().map_or(Ok(()), |gate| gate.keep_on(interface));
                let gated = gated.map_err(|error| failures::lasting(error.whole()));
                let result = gated.and_then(|()| {
                    let now = os::clock::boottime();
                    let is_patient = now >= self.no_patience;
                    let patience = if is_patient { now + GATE_PATIENCE } else { now };
                    let is_refused = custody.as_ref().is_some_and(Custody::is_refused);
                    failures::gated(address, is_refused, || {
                        let is_under =
                            custody.is_none_or(|custody| custody.wait(until.min(patience)));
                        if !is_under && is_patient {
                            self.no_patience = os::clock::boottime() + GATE_PAUSE;
                        }
                        is_under
                    })?;
                    let takes = taking != Taking::default();
                    if takes {
                        let entered = self.replaced.enter(&mut self.netlink, interface, &taking);
                        entered.map_err(failures::lasting)?;
                    }
                    if let Err(over) = failures::leased(os::clock::boottime(), until) {
                        if takes {
                            self.give(interface, None);
                        }
                        return Err(over);
                    }
                    if takes {
                        let lifetime = (lifetime, until);
                        return self.add_in_place(interface, (address, prefix), lifetime, &taking);
                    }
                    let added =
                        self.netlink.refresh_address(interface, address, prefix, Some(lifetime));
                    added.map_err(failures::lasting)
                });
                self.answer(operation, result);
                if taking != Taking::default() {
                    self.look();
                }
            }
            Request::Refresh { interface, address, prefix, lifetime, until } => {
                // The kernel adds what is missing, so this must not come after the guard has
                // removed it.
                if os::clock::boottime() >= until {
                    return;
                }
                // If it fails the address runs out, and the next look shows that it is gone.
                let _runs_out =
                    self.netlink.refresh_address(interface, address, prefix, Some(lifetime));
            }
            Request::Keep { interface, address, prefix, lifetime } => {
                let kept = self.netlink.refresh_address(interface, address, prefix, Some(lifetime));
                if let Err(error) = kept {
                    self.tell(Done::Trouble(format!("own alias {address}: {error}")));
                }
            }
            Request::Drop { interface, address, prefix } => {
                let dropped = self.netlink.remove_address(interface, address, prefix);
                if let Err(error) = dropped {
                    self.tell(Done::Trouble(format!("own alias {address}: {error}")));
                }
            }
            Request::Gate => {
                if let Some(Err(error)) = self.gate.as_mut().map(Attachments::keep) {
                    self.tell(Done::Trouble(format!("the lease gate: {}", error.whole())));
                }
            }
            Request::Survey { question } => {
                let survey = self.gate.as_mut().map_or(Ok(Vec::new()), Attachments::survey);
                let result = survey.map_err(|error| error.whole());
                self.tell(Done::Attached { question, result });
            }
            Request::Switch { operation, from, to, addresses } => {
                let result = self.netlink.switch(from, to, &addresses);
                let result = result.map_err(|error| Failure::Lasting(error.whole()));
                let result = result.and_then(|taken| {
                    for trouble in taken.troubles {
                        self.tell(Done::Said(format!("taken over by interface {to}: {trouble}")));
                    }
                    match taken.left.is_empty() {
                        true => Ok(()),
                        false => Err(Failure::AllBut(taken.left)),
                    }
                });
                self.answer(operation, result);
                self.look();
            }
            Request::SpeakForOwn { interfaces } => {
                for name in interfaces {
                    match os::arp::speak_for_own(&name) {
                        Ok(set) if set.is_empty() => {}
                        Ok(set) => self.tell(Done::Said(format!(
                            "{name} speaks ARP for its own addresses only ({})",
                            set.join(", ")
                        ))),
                        Err(error) => self.tell(Done::Trouble(format!(
                            "{name} answers ARP for addresses of other interfaces too: {error}"
                        ))),
                    }
                }
            }
            Request::FindStrict { interfaces } => {
                // One that is gone meanwhile is strict with nobody.
                let is_strict = |name: &String| os::arp::is_strict(name).unwrap_or(false);
                self.tell(Done::Strict(interfaces.into_iter().filter(is_strict).collect()));
            }
            Request::Remove { operation, interface, address, prefix, gives: false } => {
                let result = self.netlink.remove_address(interface, address, prefix);
                self.answer(operation, result.map_err(|error| Failure::Lasting(error.to_string())));
            }
            Request::Remove { operation, interface, address, prefix, gives: true } => {
                let given = self.give(interface, Some((address, prefix)));
                self.answer(operation, given.removed.map_err(Failure::Lasting));
                self.look();
            }
            Request::Give { operation, interface } => {
                let given = self.give(interface, None);
                let result = match given.troubles.is_empty() {
                    true => Ok(()),
                    false => Err(Failure::Lasting(given.troubles.join("; "))),
                };
                self.answer(operation, result);
                self.look();
            }
        }
    }

    /// Adds an address that takes the place of what its interface has; all of it, or nothing. It is not
    /// added once the lease is over, however long the driver of the card took to set its hardware address.
    fn add_in_place(
        &mut self,
        interface: u32,
        (address, prefix): (IpAddr, u8),
        (lifetime, until): (Duration, Instant),
        taking: &Taking,
    ) -> Result<(), Failure> {
        let netlink = &mut self.netlink;
        let hardware =
            taking.mac.map_or(Ok(()), |mac| netlink.set_hardware_address(interface, mac));
        let hardware = hardware.map_err(|error| failures::lasting(error.whole()));
        let added = hardware.and_then(|()| {
            failures::leased(os::clock::boottime(), until)?;
            let added = netlink.refresh_address(interface, address, prefix, Some(lifetime));
            added.map_err(|error| failures::lasting(error.whole()))
        });
        let taken = added.and_then(|()| {
            let taken = self.replaced.take(netlink, interface, address, taking);
            taken.map_err(failures::lasting)
        });
        match taken {
            Ok(said) => {
                said.into_iter().for_each(|said| self.tell(Done::Said(said)));
                Ok(())
            }
            Err(failure) => {
                let given = self.give(interface, Some((address, prefix)));
                let left = given.removed.err().into_iter().chain(given.troubles);
                Err(failures::given_back(failure, left))
            }
        }
    }

    fn give(&mut self, interface: u32, service: Option<(IpAddr, u8)>) -> Given {
        let given = self.replaced.give(&mut self.netlink, interface, service);
        given.said.iter().for_each(|said| self.tell(Done::Said(said.clone())));
        for trouble in &given.troubles {
            self.tell(Done::Trouble(format!("put back on interface {interface}: {trouble}")));
        }
        given
    }

    /// Tells the loop when the hosts file has changed. One that cannot be read now has not.
    fn read_hosts(&mut self) {
        let now = os::clock::boottime();
        if now.since(self.read_at) < HOSTS_INTERVAL {
            return;
        }
        self.read_at = now;
        if let Ok(hosts) = Hosts::read(&self.root)
            && hosts != self.hosts
        {
            self.hosts = hosts.clone();
            self.tell(Done::Hosts(hosts));
        }
    }

    fn look(&mut self) {
        match self.netlink.interfaces() {
            Ok(interfaces) => self.tell(Done::Interfaces(interfaces)),
            Err(error) => self.tell(Done::Trouble(format!("interfaces: {error}"))),
        }
    }

    fn answer(&self, operation: u64, result: Result<(), Failure>) {
        self.tell(Done::Address { operation, result });
    }

    fn tell(&self, done: Done) {
        // The loop has gone when the process is ending.
        let _ending = self.done.send_waiting(done);
    }
}

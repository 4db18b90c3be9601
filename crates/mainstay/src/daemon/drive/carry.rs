//! Carrying out what the node wants, in order, and handing it to whoever may wait.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base::Instant;
use engine::{Outcome, ResourceKind, Verb};
use node::{Durable, Input, Output};
use os::event::{Interest, Token};
use os::shared::HeldAddress;

use super::super::cover::Refused;
use super::super::disk::{self, Write};
use super::super::hooks::Switch;
use super::super::learned::Question;
use super::super::{addresses, convert};
use super::{Daemon, ETHERNET};

impl Daemon {
    pub(super) fn carry_out(&mut self) {
        self.mind_classes();
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit { path, bytes } => {
                    self.media.transmit(path, &bytes, &self.poll);
                    self.node.recycle(bytes);
                }
                Output::TransmitAll { network, bytes } => {
                    self.media.transmit_all(network, &bytes);
                    self.node.recycle(bytes);
                }
                Output::Persist { token, what } => self.persist(token, what),
                Output::Ask(request) => self.ask_arbiters(request),
                Output::Fence(run) => self.run_fence(run),
                Output::FenceStop(run) => self.fencing.stop(run),
                Output::ArmWatchdog => self.arm_watchdog(),
                Output::FenceRecord(record) => self.fence_recorded(record),
                Output::Network(output) => self.network(output),
                Output::Process(act) => self.process(act),
                Output::Answer { request, result } => self.answered(request, result),
                Output::Note(note) => self.journal.note(&note, self.node.cluster(), &self.inbox),
                Output::Event(event) => {
                    self.errands.greet |= event.kind == node::EventKind::Peer;
                    self.journal.event(&event, self.node.cluster(), &self.inbox);
                    self.run_hooks(&event);
                }
                Output::Configured { version, checksum, text } => {
                    self.configured(version, checksum, text);
                }
                Output::Told { from, bytes } => self.told(from, &bytes),
                Output::Goodbyes(frames) => {
                    let life = self.node.local().incarnation;
                    self.cover.shared().set_incarnation(life);
                    self.goodbyes.replace(life, frames);
                    self.hand_over_goodbyes();
                }
                Output::Left => self.left = true,
            }
        }
    }

    fn persist(&mut self, token: u64, what: Durable) {
        let write = match what {
            Durable::State { incarnation, record } => {
                let state = disk::State { incarnation, record };
                Write::Memory {
                    token: Some(token),
                    name: disk::STATE,
                    bytes: base::codec::encode(&state),
                    before: None,
                }
            }
            Durable::Entry(entry) => Write::Memory {
                token: Some(token),
                name: disk::PENDING,
                bytes: disk::pending(&entry),
                before: None,
            },
        };
        self.write(write);
    }

    /// Never waits, and drops nothing: who waits for a write that was dropped waits for ever.
    pub(in crate::daemon) fn write(&mut self, write: Write) {
        let handed = self.disk.try_send(write);
        assert!(
            handed.is_ok(),
            "the node has one record and one entry on their way at a time and a stuck disk holds up \
             what would lead to the next, so {} writes \
             cannot wait; and the disk's thread ends after \
             the loop",
            disk::WRITES_MAX
        );
    }

    /// Hands a request to the addresses thread. What does not fit fails, is asked again, or is
    /// repeated by itself.
    pub(in crate::daemon) fn request(&mut self, request: addresses::Request) {
        use std::sync::mpsc::TrySendError;
        let Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) =
            self.addresses.try_send(request)
        else {
            return;
        };
        let said = "the kernel does not answer about addresses";
        if self.trouble.insert(said.to_owned()) {
            self.journal.say(said);
        }
        match request {
            addresses::Request::Look => self.look_again = true,
            // Asked again with the next picture, or when they are due.
            addresses::Request::Survey { question } => {
                self.attached(question, Err(said.to_owned()));
            }
            // The guard does the same when it hears of a change.
            addresses::Request::Gate
            | addresses::Request::SpeakForOwn { .. }
            | addresses::Request::FindStrict { .. }
            | addresses::Request::Refresh { .. }
            | addresses::Request::Keep { .. }
            | addresses::Request::Drop { .. } => {}
            addresses::Request::Add { operation, .. }
            | addresses::Request::Give { operation, .. }
            | addresses::Request::Switch { operation, .. }
            | addresses::Request::Remove { operation, .. } => {
                if let Some(address) = self.adding.remove(&operation) {
                    self.cover.removed(address);
                    // Whatever it was to take is there: a picture shows that.
                    self.look_again = true;
                }
                self.removing.remove(&operation);
                // Nothing was tried, so what was to be added may be with the next lease; the others have their
                // own times after which they are tried again.
                let result = Err(network::Failure::NotNow(said.to_owned()));
                let done = network::Input::Done { operation, result };
                self.follow_ups.push_back(Input::Network(done));
            }
        }
    }

    fn network(&mut self, output: network::Output) {
        use network::Output as Out;
        match output {
            Out::Listen { interface, on: true } => match os::ethernet::Ethernet::open(interface) {
                Ok(socket) => {
                    let token = Token(ETHERNET + u64::from(interface));
                    if let Err(error) = self.poll.add(&socket, token, Interest::Read) {
                        self.journal.say(&format!("cannot listen for conflicts: {error}"));
                    }
                    self.ethernet.insert(interface, socket);
                }
                Err(error) => self.journal.say(&format!("cannot listen for conflicts: {error}")),
            },
            Out::Listen { interface, on: false } => self.close_ethernet(interface),
            Out::Send { interface, bytes } => {
                let socket = match self.ethernet.get(&interface) {
                    Some(socket) => socket.send(&bytes),
                    None => os::ethernet::Ethernet::open(interface)
                        .and_then(|socket| socket.send(&bytes)),
                };
                if let Err(error) = socket
                    && self.trouble.insert(format!("announce: {error}"))
                {
                    self.journal.say(&format!("cannot probe or announce an address: {error}"));
                }
            }
            Out::Add { operation, interface, address, prefix, lifetime, taking } => {
                let until = self.node.leases().0;
                let held = HeldAddress { interface, address, prefix };
                let entered = match self.service_of(address) {
                    Some(service) => {
                        let storage = self.is_storage(&service);
                        self.push_evidence();
                        let entered = self.cover.adding(&service, held, until, storage);
                        entered.map_err(network::Failure::from)
                    }
                    None => Err("no service has this address".into()),
                };
                match entered {
                    Ok(()) => {
                        self.adding.insert(operation, address);
                        let custody = self.cover.gate().map(|gate| gate.custody(address));
                        self.request(addresses::Request::Add {
                            operation,
                            interface,
                            address,
                            prefix,
                            lifetime,
                            until,
                            taking,
                            custody,
                        });
                    }
                    Err(failure) => {
                        // Nothing was taken, and a picture shows that.
                        self.look_again |= taking != network::Taking::default();
                        let result = Err(failure);
                        let done = network::Input::Done { operation, result };
                        self.follow_ups.push_back(Input::Network(done));
                    }
                }
            }
            Out::Refresh { interface, address, prefix, lifetime } => {
                let until = self.node.leases().0;
                self.request(addresses::Request::Refresh {
                    interface,
                    address,
                    prefix,
                    lifetime,
                    until,
                });
            }
            Out::Remove { operation, interface, address, prefix, gives } => {
                // Closed before it is gone. What is not entered here is a copy of somebody else's making,
                // or was left over by a former life of this daemon: nothing to be closed.
                let held = HeldAddress { interface, address, prefix };
                if self.cover.is_at(&held) {
                    self.cover.close(address);
                    self.removing.insert(operation, held);
                }
                self.request(addresses::Request::Remove {
                    operation,
                    interface,
                    address,
                    prefix,
                    gives,
                });
            }
            Out::Give { operation, interface } => {
                self.request(addresses::Request::Give { operation, interface });
            }
            Out::Switch { operation, from, to, addresses, net, why } => {
                self.switch(Switch { operation, from, to, addresses, net, why });
            }
            Out::Ask { question, interface, address, gateways } => {
                self.ask_gateways(Question { question, interface, address, gateways });
            }
            Out::Gateway { .. }
            | Out::Switched { .. }
            | Out::StandbyJoined { .. }
            | Out::StandbyFailed { .. }
            | Out::Moved { .. }
            | Out::Claimed { .. }
            | Out::NotNow { .. }
            | Out::Failed { .. }
            | Out::Released { .. }
            | Out::Lost { .. }
            | Out::Yielded { .. }
            | Out::Conflict { .. } => unreachable!("the node keeps these to itself"),
        }
    }

    /// For after all outputs are carried out.
    pub(in crate::daemon) fn follow_up(&mut self, input: Input) {
        self.follow_ups.push_back(input);
    }

    fn is_storage(&self, service: &str) -> bool {
        let engine = self.node.engine();
        engine.observation().class(engine.intent(), service) > engine::Class::Contained
    }

    /// The guard knows of what has become one of storage before anybody is told that this node does: by
    /// then its machine is one that others count on the reset of, and no goodbye is said for it.
    fn mind_classes(&mut self) {
        let engine = self.node.engine();
        let (intent, observation) = (engine.intent(), engine.observation());
        let known = (engine.position(), intent.version, intent.checksum);
        if self.classes_known.replace(known) == Some(known) {
            return;
        }
        self.cover.mark_storage(|service| {
            let held = observation.services.get(service).and_then(|state| state.class);
            let configured = intent.service(service).map(|spec| spec.class().0);
            held.max(configured) > Some(engine::Class::Contained)
        });
    }

    fn service_of(&self, address: IpAddr) -> Option<String> {
        let services = self.node.engine().intent().services.iter();
        let mut has = services.filter(|service| {
            service.resources.iter().any(|resource| {
                matches!(&resource.kind, ResourceKind::Address { address: own, .. } if *own == address)
            })
        });
        has.next().map(|service| service.name.clone())
    }

    fn process(&mut self, act: engine::Act) {
        let (id, verb, service) = (act.id, act.verb, act.service.clone());
        let resource = act.resource.name.clone();
        let entered = match verb {
            Verb::Start => {
                let group = self.containment.group_path(&service);
                let until = self.node.leases().0;
                let storage = self.is_storage(&service);
                self.push_evidence();
                self.cover.starting(&service, &resource, group, until, storage)
            }
            Verb::Stop | Verb::Kill => {
                self.stopping.insert(id, (service.clone(), resource.clone()));
                Ok(())
            }
        };
        let handed = entered.and_then(|()| {
            let permit = self.cover.permit(&act.service);
            let handed = match act.resource.kind {
                ResourceKind::Mount { .. } | ResourceKind::Reservation { .. } => {
                    self.writers.act(act, permit)
                }
                ResourceKind::Process { .. } | ResourceKind::Address { .. } => {
                    self.agents.act(act, permit)
                }
            };
            handed.map_err(|error| Refused::Never(format!("no thread: {error}")))
        });
        if let Err(refused) = handed {
            self.stopping.remove(&id);
            if verb == Verb::Start {
                self.cover.ended(&service, &resource);
            }
            let outcome = match refused {
                Refused::NotNow(reason) => Outcome::NotNow { reason },
                Refused::Never(reason) => Outcome::Failed { reason },
            };
            self.follow_ups.push_back(Input::Acted { id, outcome });
        }
    }

    /// Extends the deadlines of what this node holds; one store each.
    pub(super) fn push_leases(&mut self) {
        let (until, held) = self.node.leases();
        if until > Instant::ZERO {
            for service in held {
                self.cover.push(service, until);
            }
        }
    }

    /// Asked in each turn: those held are looked through only for a service of which nothing is left.
    pub(in crate::daemon) fn settle(&mut self) {
        let node = &self.node;
        self.cover.settle(|service| node.leases().1.any(|held| held == service));
    }

    /// Addresses that the kernel does not have are not held, whoever removed them.
    pub(super) fn reconcile(&mut self, interfaces: &[os::netlink::Interface]) {
        let seen: BTreeSet<IpAddr> = (interfaces.iter())
            .flat_map(|interface| &interface.addresses)
            .map(|seen| seen.address)
            .collect();
        for entry in self.cover.shared().entries() {
            for held in entry.description.addresses {
                let is_coming = self.adding.values().any(|address| *address == held.address);
                if !seen.contains(&held.address) && !is_coming {
                    self.cover.removed(held.address);
                }
            }
        }
    }

    /// Gives the guard this life's goodbyes, if their ways are other ones than before.
    pub(super) fn hand_over_goodbyes(&mut self) {
        let media = &self.media;
        let Some((life, goodbyes)) = self.goodbyes.due(|path| media.route(path)) else { return };
        if let Err(error) = self.cover.shared().set_goodbyes(life, goodbyes) {
            self.journal.say(&format!("goodbyes: {error}"));
        }
    }

    /// Another configuration is in force: written down, read, and given to the core.
    fn configured(&mut self, version: u64, checksum: u64, text: String) {
        if (version, checksum) == (self.cluster.version, self.cluster.checksum) {
            return;
        }
        let file = self.root.cluster();
        let shown = file.display().to_string();
        let cluster = match crate::config::parse(&text, &shown, version) {
            Ok((mut cluster, _warnings)) => {
                crate::config::hosts::carry_over(&self.cluster, &mut cluster);
                cluster
            }
            Err(diagnostics) => {
                let said = diagnostics.render(false);
                return self.journal.say(&format!("version {version} cannot be read:\n{said}"));
            }
        };
        let agreed = disk::Agreed { version, checksum, text: text.clone() };
        let bytes = base::codec::encode(&agreed);
        let before = Some((file, text));
        self.write(Write::Memory { token: None, name: disk::AGREED, bytes, before });
        let before = std::mem::replace(&mut self.cluster, cluster);
        self.fences_changed(&before.fences);
        self.resolve();
        self.adopt_own();
        self.mind_gate();
        let core = convert::cluster(&self.cluster, self.node.local().node);
        self.open_networks();
        self.mind_arbiters();
        self.mind_health();
        self.mind_gateways();
        self.mind_hooks();
        self.follow_ups.push_back(Input::Configured(Box::new(core)));
        self.mind_aliases();
        self.mind_standbys();
        // Where persistent addresses belong is known once the node has the configuration; a picture has
        // it asked again.
        self.request(addresses::Request::Look);
    }
}

//! The daemon's part in discovery: it answers whoever asks with what was agreed on, and otherwise
//! keeps still.
//!
//! A thread of its own listens for announcements on all interfaces. What is sealed with the cluster's
//! key or with the secret of an outstanding token is answered with everything, what is open with the
//! name and the interfaces of this node. Each of these is a *party* with a picture of its own: what
//! strangers say never mixes with what nodes say. A party that has been silent is forgotten.
//!
//! Datagrams come to the sockets of the paths, so the loop hands them over, and sends the receipts:
//! they take the way that heartbeats take. Both queues are short, and what does not fit is lost. At
//! addresses where the loop has no socket the thread opens one of its own, on a port that nobody
//! needs: that of the cluster is the loop's alone, which may need it there at the next change of the
//! configuration. Each address is announced with its port.
//!
//! Strangers cost little: only frames from a wire of this machine make a party or keep one, never
//! datagrams from anywhere, and only a few of the machines of strangers are noted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Instant;
use os::event::{self, Events, Interest, Poll, Receiver, Sender, Token};
use os::netlink::Netlink;
use os::segment::Segments;
use os::udp::Udp;

use super::Done;
use crate::config::files::Root;
use crate::config::hosts::Hosts;
use crate::config::network::ETHERTYPE_DEFAULT;
use crate::discover::run::{ANNOUNCE_INTERVAL, send_announcements};
use crate::discover::survey::{MACHINES_MAX, Own, STRANGERS_MAX, Seen, Survey};
use crate::discover::wire::{self, Address, MAGIC, Message, Secret};
use crate::join::server::Joins;

/// A party that has been silent for so long is forgotten.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Frames taken in one turn, and the least between two turns: more is not listened to.
const FRAMES_PER_TURN: usize = 64;
const TURN_MIN: Duration = Duration::from_millis(10);
/// Datagrams that the loop may hand over at a time.
const DATAGRAMS_MAX: usize = 64;
/// How often the interfaces are looked at while somebody discovers.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A datagram for the thread.
#[derive(Debug)]
pub(super) struct Datagram {
    /// The own address that it came to.
    pub(super) local: SocketAddr,
    /// Where it came from.
    pub(super) from: SocketAddr,
    /// All its bytes.
    pub(super) bytes: Vec<u8>,
}

/// Where the loop has sockets now.
pub(super) type Bound = Arc<Mutex<BTreeSet<SocketAddr>>>;

/// What the thread knows from the start.
pub(super) struct Config {
    pub(super) root: Root,
    pub(super) node: String,
    pub(super) cluster: String,
    pub(super) bound: Bound,
    pub(super) key: [u8; 32],
    pub(super) joins: Joins,
}

/// Whose messages a party understands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Cluster,
    Token([u8; crate::join::token::SECRET_SIZE]),
    Anybody,
}

struct Party {
    secret: Option<Secret>,
    survey: Survey,
    newest: Instant,
}

struct Answerer {
    config: Config,
    segments: Segments,
    netlink: Netlink,
    seen: Seen,
    parties: Vec<Party>,
    datagrams: Receiver<Datagram>,
    /// Sockets at own addresses that are in no network, while somebody discovers.
    others: BTreeMap<Address, Udp>,
    done: event::Sender<Done>,
}

/// Starts the thread.
///
/// # Errors
/// When the kernel allows no raw frames, or has no thread.
pub(super) fn start(config: Config, done: event::Sender<Done>) -> io::Result<Sender<Datagram>> {
    let segments = Segments::open(ETHERTYPE_DEFAULT, MAGIC)?;
    let netlink = Netlink::open()?;
    let (sender, datagrams) = event::queue(DATAGRAMS_MAX)?;
    let mut answerer = Answerer {
        config,
        segments,
        netlink,
        seen: Seen::default(),
        parties: Vec::new(),
        datagrams,
        others: BTreeMap::new(),
        done,
    };
    std::thread::Builder::new().name("discovery".into()).spawn(move || {
        if let Err(error) = answerer.run() {
            // When the loop is that busy, or gone, there is nobody to tell.
            let text = format!("discovery ends: {error}");
            let _nobody_hears = answerer.done.send(Done::Trouble(text));
        }
    })?;
    Ok(sender)
}

impl Answerer {
    fn run(&mut self) -> io::Result<()> {
        let poll = Poll::new()?;
        poll.add(&self.segments, Token(1), Interest::Read)?;
        poll.add(&self.datagrams, Token(2), Interest::Read)?;
        let mut events = Events::with_capacity(2);
        let [mut announce, mut look] = [Instant::ZERO; 2];
        loop {
            let wait = (!self.parties.is_empty())
                .then(|| announce.since(os::clock::boottime()).max(TURN_MIN));
            poll.wait(&mut events, wait)?;
            let now = os::clock::boottime();
            let mut frames = Vec::new();
            self.segments.drain(FRAMES_PER_TURN, |interface, _, bytes| {
                frames.push((interface, bytes.to_vec()));
            })?;
            for (interface, bytes) in frames {
                self.frame(now, interface, &bytes);
            }
            self.datagrams.silence();
            while let Some(datagram) = self.datagrams.take() {
                self.datagram(&datagram);
            }
            self.others();
            self.parties.retain(|party| now.since(party.newest) < SILENCE_MAX);
            if self.parties.is_empty() {
                self.others.clear();
                // Whatever floods a wire without being understood gets a turn now and then.
                self.pause();
                continue;
            }
            if now >= look {
                self.look();
                let seen = &self.seen.interfaces;
                self.parties.iter_mut().for_each(|party| party.survey.see(seen));
                self.open_others(&poll)?;
                self.parties.iter_mut().for_each(|party| party.survey.forget(now));
                look = now + LOOK_INTERVAL;
            }
            if now >= announce {
                for party in &mut self.parties {
                    send_announcements(&mut party.survey, &self.segments, party.secret.as_ref());
                }
                announce = now + ANNOUNCE_INTERVAL;
            }
            self.pause();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a thread of its own that bounds what it does")]
    fn pause(&self) {
        std::thread::sleep(TURN_MIN);
    }

    fn look(&mut self) {
        if let Some(text) = self.seen.take(self.netlink.interfaces()) {
            // The loop is busy: what it would say is lost, and discovery goes on.
            let _lost = self.done.send(Done::Trouble(text));
        }
    }

    fn frame(&mut self, now: Instant, interface: u32, bytes: &[u8]) {
        let place = match self.place_of(bytes) {
            Some(place) => place,
            None => {
                let Some(who) = self.who(bytes) else { return };
                self.join(now, who)
            }
        };
        let party = &mut self.parties[place];
        let opened = wire::open(bytes, party.secret.as_ref());
        let Some(Message::Announce(said)) = opened else { return };
        party.newest = now;
        party.survey.announced(now, interface, said);
    }

    /// What came to own addresses at which the loop has no socket, and its receipts.
    fn others(&mut self) {
        let mut others = std::mem::take(&mut self.others);
        // A socket that breaks is closed; the next look at the addresses opens another one.
        others.retain(|_, udp| self.drain(udp).is_ok());
        self.others = others;
    }

    fn drain(&mut self, udp: &mut Udp) -> io::Result<()> {
        let mut came = Vec::new();
        udp.drain(DATAGRAMS_MAX, |from, bytes| came.push((from, bytes.to_vec())))?;
        for (from, bytes) in came {
            if let Some(receipt) = self.receipt(&bytes) {
                // Lost like any datagram, and asked for again.
                let _counted = udp.send_whole(&receipt, from)?;
            }
        }
        udp.hints(|_, _| {})
    }

    /// Opens sockets where the loop has none, so that all addresses that are announced answer.
    fn open_others(&mut self, poll: &Poll) -> io::Result<()> {
        let faces = self.parties.iter().flat_map(|party| party.survey.interfaces.values());
        let nets = faces.flat_map(|(_, face)| &face.addresses);
        let addresses: BTreeSet<Address> = nets.map(|net| net.address).collect();
        let bound = self.config.bound.lock().expect("nobody panics with it").clone();
        let of_loop: BTreeMap<Address, u16> =
            bound.iter().map(|at| (Address(at.ip()), at.port())).collect();
        let is_needed = |address: &Address| !of_loop.contains_key(address);
        self.others.retain(|address, _| is_needed(address) && addresses.contains(address));
        for address in addresses.into_iter().filter(is_needed) {
            if self.others.contains_key(&address) {
                continue;
            }
            // What cannot be opened now is tried again at the next look.
            if let Ok(udp) = Udp::bind(SocketAddr::new(address.0, 0), None) {
                poll.add(&udp, Token(3), Interest::Read)?;
                self.others.insert(address, udp);
            }
        }
        let mut ports = of_loop;
        ports.extend(self.others.iter().map(|(address, udp)| (*address, udp.local().port())));
        self.parties.iter_mut().for_each(|party| party.survey.ports.clone_from(&ports));
        Ok(())
    }

    fn datagram(&mut self, datagram: &Datagram) {
        let Some(bytes) = self.receipt(&datagram.bytes) else { return };
        let (local, to) = (datagram.local, datagram.from);
        // The loop is busy: the receipt is lost like any datagram.
        let _lost = self.done.send(Done::Receipt { local, to, bytes });
    }

    /// The receipt for a datagram, which whoever sent it must have announced by a frame.
    fn receipt(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let place = self.place_of(bytes)?;
        let party = &mut self.parties[place];
        let secret = party.secret.as_ref();
        let Some(Message::Try(attempt)) = wire::open(bytes, secret) else { return None };
        let receipt = party.survey.tried(attempt, bytes.len());
        // As long as what came: it shows what passes in the other direction.
        let message = Message::Arrived(receipt, party.survey.own.machine);
        Some(wire::seal(&message, secret, bytes.len()))
    }

    /// The party that understands a message.
    fn place_of(&self, bytes: &[u8]) -> Option<usize> {
        self.parties.iter().position(|party| wire::open(bytes, party.secret.as_ref()).is_some())
    }

    /// Who of those that this daemon knows has sent a message.
    fn who(&self, bytes: &[u8]) -> Option<Who> {
        let tokens = || self.config.joins.secrets().into_iter().map(Who::Token);
        let all: Vec<Who> = match wire::is_sealed(bytes) {
            true => [Who::Cluster].into_iter().chain(tokens()).collect(),
            false => vec![Who::Anybody],
        };
        all.into_iter().find(|who| wire::open(bytes, self.secret(*who).as_ref()).is_some())
    }

    fn secret(&self, who: Who) -> Option<Secret> {
        match who {
            Who::Cluster => Some(Secret::of_cluster(&self.config.key)),
            Who::Token(secret) => Some(Secret::of_token(&secret)),
            Who::Anybody => None,
        }
    }

    fn join(&mut self, now: Instant, who: Who) -> usize {
        let config = &self.config;
        let mut machine = [0; 8];
        os::clock::random(&mut machine);
        let hosts = Hosts::read(&config.root).unwrap_or_default();
        let looped = hosts.all(&config.node).first().copied();
        let own = Own {
            machine: u64::from_be_bytes(machine),
            name: config.node.clone(),
            cluster: (who != Who::Anybody).then(|| config.cluster.clone()),
            looped_name: looped.filter(std::net::IpAddr::is_loopback),
        };
        let machines_max = if who == Who::Anybody { STRANGERS_MAX } else { MACHINES_MAX };
        let mut survey = Survey::answering(own, machines_max);
        self.look();
        survey.see(&self.seen.interfaces);
        let secret = self.secret(who);
        self.parties.push(Party { secret, survey, newest: now });
        self.parties.len() - 1
    }
}

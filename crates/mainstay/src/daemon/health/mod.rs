//! Whether the interfaces of this node work: a thread that looks at them and polls.
//!
//! It drives [`network::health::Health`] with the kernel: each 50 ms the carriers of all interfaces
//! and the counters of those that are in a network, health frames in both directions, and the rounds.
//! It is a thread of its own because nothing of this may wait behind anything: requests for addresses
//! wait for the kernel, and a thousand of them would hide a lost carrier for as long.
//!
//! The kernel's own report of a carrier can be a second late, so the driver is asked (`os::netlink`).
//! When one has changed, or a verdict, the loop is told to look; what the thread knows stands in
//! [`Seen`], so that a bell that does not fit into the loop's queue is simply rung again.
//!
//! Without the right to send raw frames nobody is polled: then carriers alone count, which the
//! journal says.

mod seal;
mod targets;
mod verdicts;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Instant;
use network::health::{Card, Config, Health, Input, Output, Status};
use os::event::{self, Events, Interest, Poll, Receiver, Sender, Token};
use os::netlink::Netlink;
use os::netlink::link::Link;
use os::segment::Segments;
use os::udp::Sent;

use self::seal::{Key, MAGIC};
use self::targets::{Targets, Wanted};
pub(super) use self::verdicts::Verdicts;
use super::Done;
use crate::config::network::ETHERTYPE_DEFAULT;

/// How often carriers and counters are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Frames taken in one turn, and the least between two turns with frames: more is not listened to.
const FRAMES_PER_TURN: usize = 256;
const TURN_MIN: Duration = Duration::from_millis(1);
/// What the loop may ask at a time.
const REQUESTS_MAX: usize = 64;

/// What the loop asks.
#[derive(Debug)]
pub(super) enum Request {
    /// Other nets, or other targets.
    Configure(Config, Wanted),
    /// There are other interfaces: these, without the loop.
    Interfaces(Vec<String>),
    /// Take a card for failed, or as it is again.
    Disable { card: String, on: bool },
}

/// What the thread knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// None before the first look.
    pub(super) status: Option<Status>,
    /// All interfaces at link level, as they were when they changed last.
    pub(super) links: Vec<Link>,
    /// Interfaces whose driver says that they have no carrier.
    pub(super) without_carrier: BTreeSet<String>,
    /// Frames that nobody with the cluster's key made.
    pub(super) unsealed: u64,
    /// Why nobody looks any more.
    pub(super) ended: Option<String>,
}

/// The loop's end of the thread.
pub(super) struct Monitor {
    pub(super) requests: Sender<Request>,
    pub(super) seen: Arc<Mutex<Seen>>,
    /// Why nobody is polled.
    pub(super) trouble: Option<String>,
}

struct Looker {
    health: Health,
    key: Key,
    netlink: Netlink,
    /// None without the right to send raw frames.
    segments: Option<Segments>,
    targets: Targets,
    requests: Receiver<Request>,
    done: event::Sender<Done>,
    seen: Arc<Mutex<Seen>>,
    /// All interfaces, and what each driver said of its carrier last.
    carriers: Vec<(String, Option<bool>)>,
    links: Vec<Link>,
    unsealed: u64,
    /// The loop has to be told that something changed.
    is_news: bool,
    /// What is wrong with looking, as it was told last.
    trouble: Option<String>,
}

/// Starts the thread.
///
/// # Errors
/// When the kernel gives no netlink socket or no thread.
pub(super) fn start(
    config: Config,
    key: &[u8; 32],
    done: event::Sender<Done>,
) -> io::Result<Monitor> {
    let (segments, trouble) = match Segments::open(ETHERTYPE_DEFAULT, MAGIC) {
        Ok(segments) => (Some(segments), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let (sender, requests) = event::queue(REQUESTS_MAX)?;
    let seen = Arc::<Mutex<Seen>>::default();
    let mut looker = Looker {
        health: Health::new(config, os::clock::boottime()),
        key: Key::of_cluster(key),
        netlink: Netlink::open()?,
        segments,
        targets: Targets::default(),
        requests,
        done,
        seen: seen.clone(),
        carriers: Vec::new(),
        links: Vec::new(),
        unsealed: 0,
        is_news: false,
        trouble: None,
    };
    std::thread::Builder::new().name("health".into()).spawn(move || {
        if let Err(error) = looker.run() {
            let text = format!("interfaces are not looked at any more: {error}");
            let ended = Some(error.to_string());
            *looker.seen.lock().expect("nobody panics with it") = Seen { ended, ..Seen::default() };
            // When the loop is gone there is nobody to tell.
            for done in [Done::Trouble(text), Done::Health] {
                let _nobody_hears = looker.done.send_waiting(done);
            }
        }
    })?;
    Ok(Monitor { requests: sender, seen, trouble })
}

impl Looker {
    fn run(&mut self) -> io::Result<()> {
        let poll = Poll::new()?;
        poll.add(&self.requests, Token(1), Interest::Read)?;
        if let Some(segments) = &self.segments {
            poll.add(segments, Token(2), Interest::Read)?;
        }
        let mut events = Events::with_capacity(2);
        let mut look_at = Instant::ZERO;
        loop {
            let wake = self.health.deadline().map_or(look_at, |round| round.min(look_at));
            poll.wait(&mut events, Some(wake.since(os::clock::boottime())))?;
            self.take_requests();
            let heard = self.take_frames()?;
            let now = os::clock::boottime();
            let is_round = self.health.deadline().is_some_and(|at| at <= now);
            if is_round || now >= look_at {
                look_at = now + LOOK_INTERVAL;
                self.look();
            }
            if is_round {
                self.feed(Input::Tick);
            }
            self.tell();
            if heard > 0 {
                self.pause();
            }
        }
    }

    /// Whatever floods a wire gets a turn now and then.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own that bounds what it does")]
    fn pause(&self) {
        std::thread::sleep(TURN_MIN);
    }

    fn take_requests(&mut self) {
        self.requests.silence();
        while let Some(request) = self.requests.take() {
            match request {
                Request::Configure(config, targets) => {
                    self.targets.configure(targets);
                    self.feed(Input::Configure(config));
                }
                Request::Disable { card, on } => self.feed(Input::Disable { card, on }),
                Request::Interfaces(names) => {
                    let before = std::mem::take(&mut self.carriers);
                    let known = |name: &String| {
                        let one = before.iter().find(|(known, _)| known == name);
                        one.and_then(|(_, carrier)| *carrier)
                    };
                    self.carriers =
                        names.into_iter().map(|name| (name.clone(), known(&name))).collect();
                    match self.netlink.links() {
                        Ok(links) => self.links = links,
                        Err(error) => self.say_once(format!("interfaces: {error}")),
                    }
                }
            }
        }
    }

    /// How many frames came.
    fn take_frames(&mut self) -> io::Result<usize> {
        let Some(segments) = &self.segments else { return Ok(0) };
        let mut frames = Vec::new();
        let drained = segments.drain(FRAMES_PER_TURN, |interface, _, bytes| {
            frames.push((interface, bytes.to_vec()));
        })?;
        for (interface, bytes) in frames {
            match self.key.open(&bytes) {
                Ok(bytes) => self.feed(Input::Frame { interface, bytes }),
                Err(_) => self.unsealed += 1,
            }
        }
        Ok(drained.count)
    }

    fn look(&mut self) {
        for (name, before) in &mut self.carriers {
            // An interface that does not say, or is gone, is told of by an event.
            let now = self.netlink.carrier(name).ok();
            self.is_news |= before.is_some() && now.is_some() && *before != now;
            *before = now;
        }
        let nets = self.health.status().nets;
        let mut cards = Vec::new();
        let mut unread = Vec::new();
        // A socket that fails is given up at the first interface: each may wait for seconds.
        let mut is_broken = false;
        for card in nets.iter().flat_map(|net| &net.cards) {
            if !is_broken {
                match self.netlink.link(&card.name) {
                    Ok(link) => {
                        cards.extend(link.map(sampled));
                        continue;
                    }
                    Err(error) => {
                        is_broken = error.errno().is_none();
                        self.say_once(format!("interface {}: {}", card.name, error.whole()));
                    }
                }
            }
            unread.push(card.name.clone());
        }
        if is_broken {
            match Netlink::open() {
                Ok(netlink) => self.netlink = netlink,
                Err(error) => self.say_once(format!("interfaces: {error}")),
            }
        }
        for card in unread {
            let carrier = self.netlink.carrier(&card).ok();
            self.feed(Input::Unread { card, carrier });
        }
        self.feed(Input::Sample(cards));
        self.ask_targets();
    }

    fn ask_targets(&mut self) {
        for interface in self.targets.answered() {
            self.feed(Input::Target { interface, answers: true });
        }
        let nets = self.health.status().nets;
        let (asked, trouble) = self.targets.ask(os::clock::boottime(), &nets);
        for interface in asked {
            self.feed(Input::Target { interface, answers: false });
        }
        if let Some(trouble) = trouble {
            self.say_once(trouble);
        }
    }

    /// Feeds one input and does what follows.
    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.health.handle(os::clock::boottime(), input);
            while let Some(output) = self.health.poll_output() {
                match output {
                    Output::Verdict { .. } => self.is_news = true,
                    Output::Send { interface, to, bytes } => {
                        if !self.send(interface, to, &bytes) {
                            inputs.push(Input::Refused { interface });
                        }
                    }
                }
            }
        }
    }

    /// Whether the kernel took it.
    fn send(&self, interface: u32, to: [u8; 6], body: &[u8]) -> bool {
        let Some(segments) = &self.segments else { return false };
        let mut nonce = [0; 12];
        os::clock::random(&mut nonce);
        segments.send_to(interface, to, &self.key.seal(body, nonce)) == Sent::Taken
    }

    /// Makes known what is known, and rings until the loop has heard it.
    fn tell(&mut self) {
        let status = Some(self.health.status());
        let (links, unsealed) = (self.links.clone(), self.unsealed);
        let lost = self.carriers.iter().filter(|(_, carrier)| *carrier == Some(false));
        let without_carrier = lost.map(|(name, _)| name.clone()).collect();
        let seen = Seen { status, links, without_carrier, unsealed, ended: None };
        *self.seen.lock().expect("nobody panics with it") = seen;
        if self.is_news && self.done.send(Done::Health).is_ok() {
            self.is_news = false;
        }
    }

    fn say_once(&mut self, text: String) {
        // Lost when the loop is busy, and said again with the next failure.
        if self.trouble.as_ref() != Some(&text)
            && self.done.send(Done::Trouble(text.clone())).is_ok()
        {
            self.trouble = Some(text);
        }
    }
}

fn sampled(link: Link) -> Card {
    Card {
        index: link.index,
        name: link.name,
        mac: link.mac,
        up: link.up,
        carrier: link.carrier,
        rx: link.rx,
        tx: link.tx,
        errors: link.errors,
    }
}

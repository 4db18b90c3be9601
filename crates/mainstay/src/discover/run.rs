//! Discovering for so long: sockets, frames, and a clock around a [`Survey`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use base::Instant;
use os::event::{Events, Interest, Poll, Token};
use os::netlink::Netlink;
use os::segment::Segments;
use os::udp::{Sent, Udp};

use super::survey::{Own, Stopped, Survey};
use super::wire::{self, Address, Attempt, MAGIC, Message, Secret};
use crate::config::network::ETHERTYPE_DEFAULT;

/// How often this machine announces itself.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(200);
/// How often it tries all pairs of addresses.
const TRY_INTERVAL: Duration = Duration::from_millis(600);
/// How often it looks at its interfaces, and says how far it is.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Frames or datagrams taken at a time.
const TAKEN_MAX: usize = 128;

/// What to do.
pub struct Options {
    /// This machine.
    pub own: Own,
    /// What was entered.
    pub secret: Option<Secret>,
    /// For how long.
    pub time: Duration,
    /// The port to answer on where it is free.
    pub port: u16,
    /// The socket of this machine's daemon. While it runs, the port is left to it.
    pub daemon: PathBuf,
}

/// Discovers for the time given. `progress` hears what remains and how many machines were heard.
///
/// # Errors
/// When the kernel gives no raw frames or no picture of the interfaces.
pub fn survey(options: Options, mut progress: impl FnMut(Duration, usize)) -> io::Result<Survey> {
    let Options { own, secret, time, port, daemon } = options;
    let other = |error: os::netlink::NetlinkError| io::Error::other(error.to_string());
    let mut netlink = Netlink::open()?;
    let segments = Segments::open(ETHERTYPE_DEFAULT, MAGIC)?;
    let poll = Poll::new()?;
    poll.add(&segments, SEGMENTS, Interest::Read)?;
    let mut sockets = Sockets::default();
    let mut survey = Survey::new(own);
    let secret = secret.as_ref();
    let mut events = Events::with_capacity(64);
    let start = os::clock::boottime();
    let end = start + time;
    let [mut announce, mut attempt, mut look] = [start; 3];
    loop {
        let now = os::clock::boottime();
        if now >= end {
            return Ok(survey);
        }
        if now >= look {
            let interfaces = netlink.interfaces().map_err(other)?;
            survey.see(&interfaces);
            let runs = UnixStream::connect(&daemon).is_ok();
            sockets.open(&mut survey, &poll, port, !runs);
            survey.forget(now);
            progress(end.since(now), survey.machines.len());
            look = now + LOOK_INTERVAL;
        }
        if now >= announce {
            send_announcements(&mut survey, &segments, secret);
            announce = now + ANNOUNCE_INTERVAL;
        }
        if now >= attempt {
            for (attempt, port) in survey.attempts() {
                sockets.attempt(&mut survey, &attempt, port, secret);
            }
            attempt = now + TRY_INTERVAL;
        }
        let next: Instant = announce.min(attempt).min(look).min(end);
        poll.wait(&mut events, Some(next.since(os::clock::boottime())))?;
        segments.drain(TAKEN_MAX, |interface, _, bytes| {
            if let Some(Message::Announce(said)) = wire::open(bytes, secret) {
                survey.announced(os::clock::boottime(), interface, said);
            }
        })?;
        sockets.drain(&mut survey, secret)?;
    }
}

const SEGMENTS: Token = Token(1);
const DATAGRAMS: Token = Token(2);

/// Announces on each interface. What a link does not take is said again soon.
pub fn send_announcements(survey: &mut Survey, segments: &Segments, secret: Option<&Secret>) {
    for (interface, announcement) in survey.announcements() {
        let bytes = wire::seal(&Message::Announce(announcement), secret, 0);
        let _said_again = segments.send(interface, &bytes);
    }
}

/// The sockets of the own addresses.
#[derive(Default)]
struct Sockets(BTreeMap<Address, Udp>);

impl Sockets {
    /// One for each own address, on `port` while it is free; on any other beside a daemon, which
    /// needs it for heartbeats and may come to need it at one more address any time.
    fn open(&mut self, survey: &mut Survey, poll: &Poll, port: u16, is_free: bool) {
        self.0.retain(|_, udp| is_free || udp.local().port() != port);
        let faces = survey.interfaces.values();
        for net in faces.flat_map(|(_, face)| &face.addresses) {
            if self.0.contains_key(&net.address) {
                continue;
            }
            let at = |port| SocketAddr::new(net.address.0, port);
            let bound = if is_free { Udp::bind(at(port), None) } else { Udp::bind(at(0), None) };
            let bound = bound.or_else(|_| Udp::bind(at(0), None));
            // An address that just went away is not there at the next look.
            if let Ok(udp) = bound
                && poll.add(&udp, DATAGRAMS, Interest::Read).is_ok()
            {
                self.0.insert(net.address, udp);
            }
        }
        let port = |(address, udp): (&Address, &Udp)| (*address, udp.local().port());
        survey.ports = self.0.iter().map(port).collect();
    }

    fn attempt(
        &mut self,
        survey: &mut Survey,
        attempt: &Attempt,
        port: u16,
        secret: Option<&Secret>,
    ) {
        let Some(udp) = self.0.get_mut(&attempt.from) else { return };
        let bytes = wire::seal(&Message::Try(*attempt), secret, attempt.size as usize);
        let to = SocketAddr::new(attempt.to.0, port);
        let too_large = rustix::io::Errno::MSGSIZE.raw_os_error();
        match udp.send_whole(&bytes, to) {
            Ok(Sent::Taken | Sent::Full) | Err(_) => {}
            Ok(Sent::NoWay) => survey.stopped(attempt, Stopped::NoRoute),
            Ok(Sent::Refused(number)) if number == too_large => {}
            Ok(Sent::Refused(number)) => survey.stopped(attempt, Stopped::Refused(number)),
        }
    }

    fn drain(&mut self, survey: &mut Survey, secret: Option<&Secret>) -> io::Result<()> {
        for udp in self.0.values_mut() {
            let mut receipts = Vec::new();
            udp.drain(TAKEN_MAX, |from, bytes| match wire::open(bytes, secret) {
                Some(Message::Try(attempt)) => {
                    receipts.push((survey.tried(attempt, bytes.len()), from, bytes.len()));
                }
                Some(Message::Arrived(attempt, machine)) => {
                    survey.received(&attempt, machine, bytes.len());
                }
                Some(Message::Announce(_)) | None => {}
            })?;
            for (receipt, to, size) in receipts {
                let bytes =
                    wire::seal(&Message::Arrived(receipt, survey.own.machine), secret, size);
                // Lost like any datagram, and tried again.
                let _sent = udp.send_whole(&bytes, to)?;
            }
            // What the network says about earlier datagrams: the others say whether they arrived.
            udp.hints(|_, _| {})?;
        }
        Ok(())
    }
}

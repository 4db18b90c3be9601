//! The loop: read, feed, turn, carry out.

mod carry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Context, Result};
use base::Instant;
use engine::{ActionId, Outcome, ResourceChange};
use node::{Input, Node};
use os::event::{Bell, Events, Interest, Poll, Ready, Timer, Token};
use os::persist::Store;
use os::process::{Containment, Exit, Process};
use os::shared::{Gated, HeldAddress};

use super::agents::Agents;
use super::aliases::Aliases;
use super::arbiters::Arbiters;
use super::cover::Cover;
use super::disk::{self, Write};
use super::errands::Errands;
use super::fencing::Fencing;
use super::goodbyes::Goodbyes;
use super::journal::Journal;
use super::media::{DiskFrames, Media, NETWORKS, Taken};
use super::probing::Probing;
use super::stand_in::StandIn;
use super::writers::{PROGRAM, Writers};
use super::{Done, addresses, convert, discovery, health};
use crate::config::hosts::Hosts;
use crate::config::own::OwnPath;
use crate::config::{Cluster, files};
use crate::probe::{self, test::Hint};
use crate::serve::{self, Answer, Inbox};

/// Frames taken from one interface in one turn.
const FRAMES_PER_TURN: usize = 64;
/// Reports of other threads that may wait.
const REPORTS_MAX: usize = 4096;
/// For how long reports are taken in one turn, and the last of them to its end: heartbeats wait for that.
const REPORTS_LENGTH: Duration = Duration::from_millis(5);
/// Looks at shared disks that found something and may wait; they do not wait for reports.
const DISK_FRAMES_MAX: usize = 64;
/// API calls taken in one turn.
const CALLS_PER_TURN: usize = 16;
/// Of SCHED_RR.
const PRIORITY: u8 = 50;

const TIMER: Token = Token(1_000);
const REPORTS: Token = Token(1_001);
const WATCH: Token = Token(1_002);
const SIGNALS: Token = Token(1_003);
const CALLS: Token = Token(1_004);
const GUARD: Token = Token(1_005);
const DISK_FRAMES: Token = Token(1_006);
const ETHERNET: u64 = 1 << 32;
const PROCESS: u64 = 1 << 40;

/// What a daemon starts from.
pub(super) struct Start {
    pub(super) root: files::Root,
    /// The name of the control groups of services.
    pub(super) tree: String,
    pub(super) store: Store,
    pub(super) cluster: Cluster,
    pub(super) hosts: Hosts,
    pub(super) own: Vec<OwnPath>,
    pub(super) cover: Cover,
    pub(super) attachments: Option<os::gate::Attachments>,
    pub(super) pusher: Option<os::gate::Pusher>,
    pub(super) replaced: super::replaced::Replaced,
    pub(super) containment: Containment,
    pub(super) processes: Vec<super::Living>,
    pub(super) remains: Vec<(String, String)>,
    pub(super) writers: Vec<super::LeftWriter>,
    pub(super) keys: super::reservations::Keys,
    pub(super) records: super::records::Records,
    pub(super) birth: node::Birth,
}

/// The loop's state.
pub(super) struct Daemon {
    pub(super) node: Node,
    /// The configuration in force, with the paths that this node alone defines.
    pub(super) cluster: Cluster,
    pub(super) own: Vec<OwnPath>,
    /// Those paths are on their way to the disk.
    pub(super) path_change: Option<super::paths::Change>,
    pub(super) cover: Cover,
    pub(super) journal: Journal,
    pub(super) started_at: Instant,
    /// The generation that this node is in, and since when.
    pub(super) view_since: (u64, Instant),
    /// Why there is no real-time class.
    pub(super) realtime: Option<String>,
    /// Why the disk refuses.
    pub(super) disk_refuses: Option<String>,
    /// The write that is on its way.
    pub(super) disk_running: os::block::Running,
    pub(super) inbox: Inbox,
    /// Commands on their way, by number.
    pub(super) waiting: BTreeMap<u64, Answer>,
    pub(super) last_request: u64,
    pub(super) root: files::Root,
    containment: Containment,
    _server: serve::Server,
    pub(super) guard: Process,
    pub(super) poll: Poll,
    timer: Timer,
    /// What the timer is set to; none after it has fired.
    wakes_at: Option<Instant>,
    /// What one descriptor had; empty between two.
    taken: Taken,
    pub(super) media: Media,
    ethernet: BTreeMap<u32, os::ethernet::Ethernet>,
    watch: os::netlink::Watch,
    signals: os::signal::Signals,
    reports: os::event::Receiver<Done>,
    disk_frames: os::event::Receiver<DiskFrames>,
    agents: Agents,
    writers: Writers,
    addresses: SyncSender<addresses::Request>,
    disk: SyncSender<Write>,
    calls: Bell,
    processes: BTreeMap<u64, Watched>,
    last_process: u64,
    /// Resources that are being stopped: their end is no surprise.
    stopping: BTreeMap<ActionId, (String, String)>,
    /// Addresses that were handed to the kernel and are not in its picture yet.
    adding: BTreeMap<u64, IpAddr>,
    removing: BTreeMap<u64, HeldAddress>,
    /// What carrying out an output led to, for after all outputs are carried out.
    follow_ups: VecDeque<Input>,
    is_carrying_out: bool,
    pub(super) leaving: Option<super::leaving::Leaving>,
    pub(super) stand_in: StandIn,
    /// A look at the interfaces did not fit into the queue.
    look_again: bool,
    /// What the thread of the addresses does not put back.
    pub(super) foreign: super::replaced::Foreign,
    left: bool,
    trouble: BTreeSet<String>,
    /// The interfaces as they were seen last.
    pub(super) interfaces: Vec<os::netlink::Interface>,
    pub(super) probing: Probing,
    pub(super) errands: Errands,
    /// For the guard.
    goodbyes: Goodbyes,
    discovery: Option<os::event::Sender<discovery::Datagram>>,
    /// The hosts file as it was read last.
    pub(super) hosts: Hosts,
    pub(super) aliases: Aliases,
    /// Interfaces that drop what comes for the addresses that they share.
    pub(super) strict: Vec<String>,
    /// What is known of the interfaces besides.
    pub(super) health: health::Verdicts,
    /// Questions where the gate is, on their way, by number.
    pub(super) surveys: BTreeMap<u64, Answer>,
    pub(super) arbiters: Arbiters,
    pub(super) fencing: Fencing,
    pub(super) gateways: super::gateways::Gateways,
    pub(super) hooks: super::hooks::Hooks,
    pub(super) learned: super::learned::Learned,
    pub(super) watchdog: super::watchdog::Watchdog,
    /// The state (position, version, checksum) of which the guard has the classes.
    classes_known: Option<(u64, u64, u64)>,
}

struct Watched {
    service: String,
    resource: String,
    process: Process,
}

impl Daemon {
    /// Opens everything that the loop needs.
    pub(super) fn start(start: Start) -> Result<Daemon> {
        let Start {
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
            writers: left,
            keys,
            records,
            birth,
        } = start;
        use os::signal::Signal;
        let signals =
            os::signal::Signals::block(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])?;
        let (done, reports) = os::event::queue(REPORTS_MAX)?;
        let logs = root.directory().join("var/log/mainstay");
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("create {} for the services' output", logs.display()))?;
        let (fencing, fence_trouble) =
            Fencing::start(&root, done.clone()).context("remember what was fenced")?;
        let agents = Agents::new(containment.clone(), logs, done.clone());
        let stand_in = StandIn::start(containment.clone(), done.clone())
            .context("start the thread that stands in for the guard")?;
        let writers =
            Writers::new(PROGRAM.into(), keys, records, containment.clone(), done.clone());
        if let Some(pusher) = pusher {
            super::gate::start_pusher(pusher, done.clone())
                .context("start the thread of the lease gate")?;
        }
        let foreign = replaced.foreign();
        foreign.set(cluster.foreign_addresses(birth.local.node));
        let addresses =
            addresses::start(root.clone(), hosts.clone(), attachments, replaced, done.clone())
                .context("start looking at interfaces")?;
        let (frames, disk_frames) = os::event::queue(DISK_FRAMES_MAX)?;
        let media = Media::new(birth.local.node, birth.local.incarnation, frames, done.clone());
        let asked = done.clone();
        let (disk, disk_running) = disk::start(store, done.clone())?;
        let calls = Bell::new()?;
        let bell = calls.clone();
        let (handle, inbox) = serve::channel(move || bell.ring());
        let name = cluster.name_of(birth.local.node);
        let key = birth.keys[0].expect("a node is born with its key");
        let server = serve::ServerConfig::new(&root, name, files::Key(key));
        let server = serve::start(server, handle)?;
        let discovery = discovery::Config {
            root: root.clone(),
            node: cluster.name_of(birth.local.node),
            cluster: cluster.name.clone(),
            bound: media.bound.clone(),
            key,
            joins: server.joins(),
        };
        let discovery = discovery::start(discovery, done.clone());
        let nothing = network::health::Config {
            cluster: cluster.id,
            node: birth.local.node,
            life: birth.local.incarnation.0,
            nets: Vec::new(),
        };
        let health = health::start(nothing, &key, done).context("start to poll interfaces")?;
        let now = os::clock::boottime();
        let poll = Poll::new()?;
        let timer = Timer::new()?;
        let watch = os::netlink::Watch::open()?;
        poll.add(&timer, TIMER, Interest::Read)?;
        poll.add(&reports, REPORTS, Interest::Read)?;
        poll.add(&disk_frames, DISK_FRAMES, Interest::Read)?;
        poll.add(&watch, WATCH, Interest::Read)?;
        poll.add(&signals, SIGNALS, Interest::Read)?;
        poll.add(&calls, CALLS, Interest::Read)?;
        let guard = Process::open(cover.guard().pid).context("watch the guard")?;
        let guard = guard.context("the guard is gone")?;
        poll.add(&guard, GUARD, Interest::Read)?;
        let mut daemon = Daemon {
            node: Node::new(birth, now),
            journal: Journal::start()?,
            started_at: now,
            view_since: (0, now),
            realtime: None,
            disk_refuses: None,
            disk_running,
            inbox,
            waiting: BTreeMap::new(),
            last_request: 0,
            cluster,
            own,
            path_change: None,
            cover,
            root,
            containment,
            _server: server,
            guard,
            poll,
            timer,
            wakes_at: None,
            taken: Taken::default(),
            media,
            ethernet: BTreeMap::new(),
            watch,
            signals,
            reports,
            disk_frames,
            agents,
            writers,
            addresses,
            disk,
            calls,
            processes: BTreeMap::new(),
            last_process: 0,
            stopping: BTreeMap::new(),
            adding: BTreeMap::new(),
            removing: BTreeMap::new(),
            follow_ups: VecDeque::new(),
            is_carrying_out: false,
            leaving: None,
            stand_in,
            look_again: false,
            foreign,
            left: false,
            trouble: BTreeSet::new(),
            interfaces: Vec::new(),
            probing: Probing::new(&key),
            discovery: None,
            hosts,
            aliases: Aliases::default(),
            strict: Vec::new(),
            health: health::Verdicts::new(health),
            surveys: BTreeMap::new(),
            gateways: super::gateways::Gateways::new(asked.clone()),
            hooks: super::hooks::Hooks::new(&tree, asked.clone()),
            learned: super::learned::Learned::new(asked.clone()),
            errands: Errands::new(asked.clone()),
            arbiters: Arbiters::new(key, asked),
            fencing,
            watchdog: super::watchdog::Watchdog::default(),
            classes_known: None,
            goodbyes: Goodbyes::default(),
        };
        fence_trouble.into_iter().for_each(|trouble| daemon.journal.say(&trouble));
        match discovery {
            Ok(discovery) => daemon.discovery = Some(discovery),
            Err(error) => {
                daemon.journal.say(&format!("this daemon takes no part in discovery: {error}"));
            }
        }
        if let Some(why) = daemon.health.trouble() {
            let said =
                format!("interfaces are not polled, so only a lost carrier is noticed: {why}");
            daemon.journal.say(&said);
        }
        if let Gated::Nothing { programs, sets } = daemon.cover.guard().promises.gated {
            let reason = super::gate::no_gate(programs, sets);
            daemon.journal.say(&format!(
                "no lease gate ({reason}): that a service address is silent after its lease rests on \
                 the guard, and behind it on the lifetime of addresses in the kernel"
            ));
        }
        daemon.mind_gate();
        daemon.mind_arbiters();
        daemon.mind_gateways();
        daemon.mind_hooks();
        daemon.open_networks();
        for (service, resource, process) in processes {
            daemon.watch_process(service, resource, process);
        }
        let mut doubts = Vec::new();
        for super::LeftWriter { service, resource, trace, doubt } in left {
            // Without its trace a stop would not know what it left.
            let adopted = daemon.writers.adopt(&service, &resource, trace);
            adopted.with_context(|| format!("look after {service}/{}", resource.name))?;
            if let Some(reason) = doubt {
                daemon.journal.say(&format!("{service}/{}: {reason}", resource.name));
                doubts.push((service, resource.name, ResourceChange::Broken { reason }));
            }
        }
        daemon.carry_out();
        // Held here until a stop has confirmed that it is gone.
        for (service, resource, change) in doubts {
            daemon.feed(Input::ResourceChanged { service, resource, change });
        }
        for (service, resource) in remains {
            let change = ResourceChange::Exited { code: None, signal: None };
            daemon.feed(Input::ResourceChanged { service, resource, change });
        }
        Ok(daemon)
    }

    /// Runs until this node has left.
    pub(super) fn run(mut self) -> Result<ExitCode> {
        // After all other threads were started: they stay in the ordinary class.
        self.realtime = os::realtime::round_robin(PRIORITY).err().map(|refused| refused.reason);
        if let Err(refused) = os::realtime::lock_memory() {
            self.journal.say(&format!("memory is not locked: {}", refused.reason));
        }
        let mut events = Events::with_capacity(256);
        while !self.left {
            self.poll.wait(&mut events, None).context("wait for events")?;
            let mut drained = true;
            for ready in events.iter() {
                drained &= self.take(ready)?;
            }
            self.feed(Input::Turn { drained });
            self.push_leases();
            self.push_evidence();
            self.stand_in();
            self.mind_watchdog();
            self.settle();
            self.note_view();
            if std::mem::take(&mut self.look_again) {
                self.request(addresses::Request::Look);
            }
            self.mind_leaving();
            let said = self.media.mend(os::clock::boottime(), &self.poll);
            self.say_all(said);
            self.go_on_testing();
            self.give_up_errands();
            self.mind_fence_checks();
            self.give_up_hooks();
            if self.aliases.deadline().is_some_and(|at| os::clock::boottime() >= at) {
                self.mind_aliases();
            }
            let deadlines = [
                self.node.deadline().map(|(at, _)| at),
                self.probing.deadline(),
                self.errands.deadline(),
                self.aliases.deadline(),
                self.leaving_deadline(),
                self.stand_in.deadline(),
                self.fence_checks_deadline(),
                self.hooks.deadline(),
            ];
            let wake = deadlines.into_iter().flatten().min();
            self.wake_at(if drained {
                wake.unwrap_or(Instant::FAR)
            } else {
                os::clock::boottime()
            });
        }
        self.drop_aliases();
        self.return_to_primaries();
        self.end_hooks();
        self.journal.flush();
        Ok(ExitCode::SUCCESS)
    }

    /// Sets the timer, unless it is set to that moment and has not fired.
    fn wake_at(&mut self, moment: Instant) {
        if self.wakes_at != Some(moment) {
            self.timer.set(Some(moment));
            self.wakes_at = Some(moment);
        }
    }

    /// Takes what one descriptor has; false when it may have more.
    fn take(&mut self, ready: Ready) -> Result<bool> {
        match ready.token {
            // Setting it anew takes the firing back: no call for that.
            TIMER => self.wakes_at = None,
            REPORTS => {
                self.reports.silence();
                let end = os::clock::boottime() + REPORTS_LENGTH;
                while let Some(done) = self.reports.take() {
                    self.report(done);
                    if os::clock::boottime() >= end {
                        self.reports.ring();
                        break;
                    }
                }
            }
            DISK_FRAMES => {
                self.disk_frames.silence();
                for _ in 0..DISK_FRAMES_MAX {
                    let Some(DiskFrames { network, frames }) = self.disk_frames.take() else {
                        return Ok(true);
                    };
                    frames.into_iter().for_each(|bytes| self.received(network, bytes));
                }
                self.disk_frames.ring();
                return Ok(false);
            }
            WATCH => {
                if self.watch.take().context("listen for changes of interfaces")? {
                    self.request(addresses::Request::Look);
                }
            }
            SIGNALS => {
                while let Some(signal) = self.signals.take() {
                    // A terminal that hangs up is no reason to end.
                    if signal != os::signal::Signal::Hangup {
                        self.leave();
                    }
                }
            }
            GUARD => self.guard_ended(),
            CALLS => {
                self.calls.take();
                for _ in 0..CALLS_PER_TURN {
                    let Some(call) = self.inbox.next() else { return Ok(true) };
                    self.answer(call);
                }
                self.calls.ring();
            }
            Token(token) if token >= NETWORKS => {
                return Ok(self.take_datagrams(ready));
            }
            Token(token) if token >= PROCESS => self.process_ended(token),
            Token(token) if token >= ETHERNET => self.take_frames((token - ETHERNET) as u32),
            Token(token) => unreachable!("nothing was added with token {token}"),
        }
        Ok(true)
    }

    pub(super) fn leave(&mut self) {
        self.limit_leave();
        self.feed(Input::Command { request: 0, command: node::Command::Leave });
    }

    /// Takes what came over a network; false when there may be more.
    fn take_datagrams(&mut self, ready: Ready) -> bool {
        let mut taken = std::mem::take(&mut self.taken);
        let node = &mut self.node;
        self.media.take(ready, &self.poll, &mut taken, |bytes| {
            let mut buffer = node.take_buffer();
            buffer.extend_from_slice(bytes);
            buffer
        });
        for sentence in taken.said.drain(..) {
            self.journal.say(&sentence);
        }
        for (network, bytes) in taken.frames.drain(..) {
            self.received(network, bytes);
        }
        for datagram in taken.discovery.drain(..) {
            // When its queue is full it is lost, as any datagram may be.
            let _lost = self.discovery.as_ref().map(|discovery| discovery.send(datagram));
        }
        self.hinted(&taken.nobody_there, Hint::NobodyThere);
        taken.nobody_there.clear();
        self.hinted(&taken.unreachable, Hint::NobodyListens);
        for path in taken.unreachable.drain(..) {
            self.feed(Input::Unreachable(path));
        }
        let more = std::mem::take(&mut taken.more);
        self.taken = taken;
        !more
    }

    /// A frame came: of the transport, or a probe.
    fn received(&mut self, network: base::NetworkId, bytes: Vec<u8>) {
        if probe::wire::is_probe(&bytes) {
            self.probed(network, &bytes);
        } else {
            self.feed(Input::Receive { network, bytes });
        }
    }

    fn say_all(&mut self, said: Vec<String>) {
        for sentence in said {
            self.journal.say(&sentence);
        }
    }

    fn take_frames(&mut self, interface: u32) {
        let Some(socket) = self.ethernet.get(&interface) else { return };
        let mut frames = Vec::new();
        let result = socket.drain(FRAMES_PER_TURN, |frame| frames.push(frame.to_vec()));
        for bytes in frames {
            self.feed(Input::Network(network::Input::Frame { interface, bytes }));
        }
        if result.is_err() {
            // The interface is gone; a new picture is on its way.
            self.close_ethernet(interface);
        }
    }

    fn close_ethernet(&mut self, interface: u32) {
        if let Some(socket) = self.ethernet.remove(&interface) {
            // Closing it takes it out of the loop as well.
            let _gone = self.poll.remove(&socket);
        }
    }

    fn report(&mut self, done: Done) {
        match done {
            Done::Paths(refused) => self.paths_written(refused),
            Done::Persisted(token) => self.feed(Input::Persisted(token)),
            Done::Disk(refuses) => {
                if let Some(reason) = &refuses {
                    self.journal.say(&format!("the disk refuses: {reason}"));
                }
                self.disk_refuses = refuses;
            }
            Done::Interfaces(interfaces) => {
                let said = self.media.see(&interfaces, &self.poll);
                self.say_all(said);
                self.hand_over_goodbyes();
                self.reconcile(&interfaces);
                self.interfaces.clone_from(&interfaces);
                self.mind_gate();
                self.mind_standbys();
                self.mind_health();
                self.mind_gateways();
                // Before the picture to which it applies.
                self.tell_health();
                let interfaces = interfaces.into_iter().map(convert::interface).collect();
                self.feed(Input::Network(network::Input::Interfaces(interfaces)));
                self.mind_held();
                // Where persistent addresses belong follows from this picture.
                self.mind_aliases();
                self.settle();
            }
            Done::Health => self.health_told(),
            Done::Address { operation, result } => {
                // Closed until it is here, open before it is announced.
                match (self.adding.remove(&operation), &result) {
                    (Some(address), Ok(())) => self.cover.open(address),
                    (Some(address), Err(_)) => self.cover.removed(address),
                    (None, _) => {}
                }
                if let (Some(held), Ok(())) = (self.removing.remove(&operation), &result)
                    && self.cover.is_at(&held)
                {
                    self.cover.removed(held.address);
                }
                self.feed(Input::Network(network::Input::Done { operation, result }));
                self.settle();
            }
            Done::Started { id, service, resource, result } => {
                let outcome = match result {
                    Ok(process) => self.process_started(service, resource, process),
                    Err(reason) => {
                        // Nothing of it runs, so there is nothing to be described.
                        self.cover.ended(&service, &resource);
                        Outcome::Failed { reason }
                    }
                };
                self.feed(Input::Acted { id, outcome });
                self.settle();
            }
            Done::Stopped { id, result } => {
                let stopped = self.stopping.remove(&id);
                let outcome = match result {
                    Ok(()) => {
                        if let Some((service, resource)) = stopped {
                            self.forget_process(&service, &resource);
                            self.cover.ended(&service, &resource);
                        }
                        Outcome::Done
                    }
                    Err(reason) => Outcome::Failed { reason },
                };
                self.feed(Input::Acted { id, outcome });
                self.settle();
            }
            Done::Mounted { id, service, resource, did, result } => {
                let outcome = match result {
                    Ok(()) => Outcome::Done,
                    // What was left behind may still mount it: it is under cover until its stop is
                    // confirmed.
                    Err(reason) => Outcome::Failed { reason },
                };
                self.journal.say(&match &outcome {
                    Outcome::Done => format!("{service}/{resource} {did}"),
                    Outcome::Failed { reason } | Outcome::NotNow { reason } => {
                        format!("{service}/{resource}: {reason}")
                    }
                });
                self.feed(Input::Acted { id, outcome });
                self.settle();
            }
            Done::MountBroken { service, resource, reason } => {
                let change = ResourceChange::Broken { reason };
                self.feed(Input::ResourceChanged { service, resource, change });
            }
            Done::Hook(report) => self.hook_ended(report),
            Done::HooksOver { operation } => self.hooks_over(operation),
            Done::Said(text) => self.journal.say(&text),
            Done::StoodIn { service, trouble } => self.stood_in(&service, trouble),
            Done::Hosts(hosts) => self.hosts_changed(hosts),
            Done::Strict(interfaces) => self.strict_seen(interfaces),
            Done::Fence { run, answer } => self.fence_ended(run, answer),
            Done::FenceVerified { question, checks } => self.fence_verified(question, checks),
            Done::Receipt { local, to, bytes } => self.media.receipt(local, to, &bytes),
            Done::Attached { question, result } => self.attached(question, result),
            Done::Gateways(silent) => self.gateways_seen(silent),
            Done::Checked { look, facts } => self.checked(look, facts),
            Done::Learned { question, address, result } => {
                let asked = network::Input::Asked { question, address, result };
                self.feed(Input::Network(asked));
            }
            Done::Arbiter(news) => self.arbiter_says(news),
            Done::Trouble(text) => self.say_once(text),
        }
    }

    fn process_started(&mut self, service: String, resource: String, process: Process) -> Outcome {
        let described =
            self.cover.started(&service, &resource, Some((process.pid(), process.started())));
        self.watch_process(service, resource, process);
        match described {
            Ok(()) => Outcome::Done,
            Err(reason) => Outcome::Failed { reason },
        }
    }

    fn watch_process(&mut self, service: String, resource: String, process: Process) {
        self.last_process += 1;
        let token = PROCESS + self.last_process;
        if let Err(error) = self.poll.add(&process, Token(token), Interest::Read) {
            self.journal.say(&format!("{service}: cannot watch {resource}: {error}"));
        }
        self.processes.insert(token, Watched { service, resource, process });
    }

    fn forget_process(&mut self, service: &str, resource: &str) {
        self.processes
            .retain(|_, watched| watched.service != service || watched.resource != resource);
    }

    fn process_ended(&mut self, token: u64) {
        let Some(watched) = self.processes.get(&token) else { return };
        let exit = match watched.process.exit() {
            Ok(None) => return,
            Ok(Some(exit)) => exit,
            Err(_) => Exit::Unknown,
        };
        let watched = self.processes.remove(&token).expect("it was just seen");
        // Dropping the descriptor takes it out of the loop.
        let is_asked_for = self.stopping.values().any(|(service, resource)| {
            *service == watched.service && *resource == watched.resource
        });
        if is_asked_for {
            return;
        }
        let (code, signal) = match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
            Exit::Unknown => (None, None),
        };
        self.feed(Input::ResourceChanged {
            service: watched.service,
            resource: watched.resource,
            change: ResourceChange::Exited { code, signal },
        });
    }

    /// Feeds one input and carries out what follows, in order.
    pub(super) fn feed(&mut self, input: Input) {
        self.follow_ups.push_back(input);
        while let Some(input) = self.follow_ups.pop_front() {
            self.node.handle(os::clock::boottime(), input);
            self.is_carrying_out = true;
            self.carry_out();
            self.is_carrying_out = false;
        }
    }

    /// Feeds one input now, or as soon as the present one is carried out.
    pub(super) fn feed_later(&mut self, input: Input) {
        match self.is_carrying_out {
            true => self.follow_ups.push_back(input),
            false => self.feed(input),
        }
    }

    /// Says something in the journal, the first time.
    pub(super) fn say_once(&mut self, text: String) {
        if self.trouble.insert(text.clone()) {
            self.journal.say(&text);
        }
    }

    pub(super) fn open_networks(&mut self) {
        let said = self.media.configure(&self.cluster, &self.poll);
        self.say_all(said);
        self.hand_over_goodbyes();
    }

    fn note_view(&mut self) {
        let generation = self.node.view().map_or(0, |view| view.generation);
        if generation != self.view_since.0 {
            self.view_since = (generation, os::clock::boottime());
            self.mind_arbiters();
        }
    }

    /// How long this daemon has been up.
    pub(super) fn uptime(&self) -> Duration {
        os::clock::boottime().since(self.started_at)
    }
}

//! One path under test: a state machine without I/O. The [module](super) says what it is for.
//!
//! ```text
//! counting ──► lingering ──► searching ──► tallying ──► done
//!    every interval   │ nothing came back      ▲
//!                     └────────────────────────┘
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Instant, Medium};
use transport::PathId;

use super::wire::{Body, Flags, SIZE_MIN};

/// Times that the tally is asked for, and how long between two.
const TALLIES: u32 = 6;
const TALLY_INTERVAL: Duration = Duration::from_millis(150);
/// How often one size is tried before it counts as too large, and the least to wait for each.
const TRIES: u32 = 2;
const TRY_WAIT: Duration = Duration::from_millis(150);
/// Three requests, one second apart, until the kernel gives up a neighbour (arp(7), `mcast_solicit`
/// and `retrans_time_ms`), less what is waited for anyway.
const ARP_PATIENCE: Duration = Duration::from_millis(2_500);
/// Bytes of a datagram that the socket takes.
const UDP_SIZE_MAX: u16 = os::udp::DATAGRAM_MAX as u16;
/// Bytes of a frame that the raw Ethernet socket takes.
const ETHERNET_SIZE_MAX: u16 = 2_048;
/// How long counted probes may take.
pub const SENDING_MAX: Duration = Duration::from_secs(30);

/// How a path is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Probes that are counted.
    pub count: u16,
    /// Between two of them.
    pub interval: Duration,
    /// How long to wait for the last answers.
    pub linger: Duration,
    /// How much longer to wait when none has come.
    pub patience: Duration,
    /// The size of every second one; the others are as short as possible.
    pub full: usize,
    /// The largest size to look for; none where the medium decides.
    pub search: Option<u16>,
}

impl Plan {
    /// The most probes that may be asked for over a path of this medium: more take too long.
    #[must_use]
    pub fn count_max(medium: Medium) -> u16 {
        let most = SENDING_MAX.as_millis() / Plan::interval(medium).as_millis();
        u16::try_from(most).unwrap_or(u16::MAX)
    }

    /// Between two probes.
    fn interval(medium: Medium) -> Duration {
        Duration::from_millis(match medium {
            Medium::Network => 50,
            Medium::Serial => 300,
            Medium::Disk => 500,
        })
    }

    /// The plan for a path over this medium, of 1 to [`Plan::count_max`] probes; `is_ip` when it runs
    /// over UDP.
    #[must_use]
    pub fn new(medium: Medium, is_ip: bool, count: u16) -> Plan {
        let most = Plan::count_max(medium);
        assert!((1..=most).contains(&count), "who asks for too many was told so");
        let linger = match medium {
            Medium::Network => 1_000,
            Medium::Serial => 2_000,
            Medium::Disk => 3_000,
        };
        let is_network = medium == Medium::Network;
        Plan {
            count,
            interval: Plan::interval(medium),
            linger: Duration::from_millis(linger),
            patience: if is_ip { ARP_PATIENCE } else { Duration::ZERO },
            full: if is_network { base::limits::DATAGRAM_SIZE_MAX } else { SIZE_MIN },
            search: is_network.then_some(if is_ip { UDP_SIZE_MAX } else { ETHERNET_SIZE_MAX }),
        }
    }
}

/// Why an ask did not even leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It is too large for the interface.
    TooLarge,
    /// The own address or interface is not there, or there is no route.
    NoWay,
    /// The kernel refused it (error number): a firewall of this node, mostly.
    Refused(i32),
    /// The network is not open here.
    NotOpen,
}

/// What the network said about an ask that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nobody listens at that port.
    NobodyListens,
    /// Nothing leads there, or nobody has that address.
    NobodyThere,
}

/// An ask to be sealed and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// What it says.
    pub body: Body,
    /// How many bytes it has.
    pub size: usize,
    /// Whether it must not be cut into fragments.
    pub whole: bool,
    /// Over every path to the peer, and not only the tested one.
    pub everywhere: bool,
}

/// What came of a test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Asks that counted and left.
    pub sent: u32,
    /// How many of them came there; none when that could not be learned.
    pub arrived_there: Option<u32>,
    /// How many of those were answered; fewer when the other node had too many to answer.
    pub answered_there: Option<u32>,
    /// Answers that came back.
    pub arrived_here: u32,
    /// The other node had too many asks to answer all, so what is missing says nothing of the path.
    pub is_busy: bool,
    /// Of the short and of the full asks: sent, and answered.
    pub short: [u32; 2],
    /// The same for the full ones.
    pub full: [u32; 2],
    /// Least, sum and greatest of the round trips, microseconds.
    pub trips: [u64; 3],
    /// The largest ask that came there whole, and the largest answer that came here whole, in bytes
    /// of the medium's payload.
    pub largest_there: Option<u16>,
    /// See above.
    pub largest_here: Option<u16>,
    /// Why an ask did not leave; other than for its size.
    pub stopped: Option<Stopped>,
    /// What the network said.
    pub hint: Option<Hint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Counting,
    Lingering,
    Searching,
    Tallying(u32),
    Done,
}

/// One direction's search for the largest size.
#[derive(Clone, Copy, Debug)]
struct Search {
    /// Passes.
    low: u16,
    /// Might pass.
    high: u16,
    /// The asks of the present step, by number; from here on.
    first: u32,
    tries: u32,
    until: Instant,
}

impl Search {
    fn size(&self) -> u16 {
        self.low + (self.high - self.low).div_ceil(2)
    }

    fn is_over(&self) -> bool {
        self.low >= self.high
    }
}

/// A path under test.
#[derive(Debug)]
pub struct PathTest {
    /// Which path.
    pub path: PathId,
    run: u64,
    plan: Plan,
    phase: Phase,
    due: Instant,
    sequence: u32,
    answered: BTreeSet<u32>,
    searches: [Option<Search>; 2],
    queue: Vec<Send>,
    seen: Seen,
}

const THERE: usize = 0;
const HERE: usize = 1;

impl PathTest {
    /// Begins now; `run` is random.
    #[must_use]
    pub fn new(path: PathId, run: u64, plan: Plan, now: Instant) -> PathTest {
        PathTest {
            path,
            run,
            plan,
            phase: Phase::Counting,
            due: now,
            sequence: 0,
            answered: BTreeSet::new(),
            searches: [None; 2],
            queue: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// Names its asks and answers.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.run
    }

    /// How it is tested.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When to call [`PathTest::tick`]; none when it is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        (self.phase != Phase::Done).then_some(self.due)
    }

    /// What came of it, once it is over.
    #[must_use]
    pub fn result(&self) -> Option<&Seen> {
        (self.phase == Phase::Done).then_some(&self.seen)
    }

    /// What is to be sent now.
    pub fn take(&mut self) -> Vec<Send> {
        std::mem::take(&mut self.queue)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        while now >= self.due {
            match self.phase {
                Phase::Counting => self.count(now),
                Phase::Lingering => self.begin_search(now),
                Phase::Searching => self.search(now),
                Phase::Tallying(left) => self.tally(now, left),
                Phase::Done => return,
            }
        }
    }

    fn ask(&mut self, now: Instant, size: usize, want: u16, flags: Flags, whole: bool) -> u32 {
        let (run, sequence, stamp) = (self.run, self.sequence, now.as_nanos());
        self.sequence += 1;
        let body = Body { run, sequence, stamp, want, flags, ..Body::default() };
        self.queue.push(Send { body, size, whole, everywhere: flags.has(Flags::TALLY) });
        sequence
    }

    fn count(&mut self, now: Instant) {
        let is_full = self.sequence % 2 == 1 && self.plan.full > SIZE_MIN;
        let size = if is_full { self.plan.full } else { SIZE_MIN };
        let want = u16::try_from(size).expect("datagrams are shorter");
        self.ask(now, size, want, Flags::COUNTS, false);
        self.seen.sent += 1;
        let kind = if is_full { &mut self.seen.full } else { &mut self.seen.short };
        kind[0] += 1;
        if self.sequence == u32::from(self.plan.count) {
            self.phase = Phase::Lingering;
            self.due = now + self.plan.linger;
        } else {
            self.due = now + self.plan.interval;
        }
    }

    fn begin_search(&mut self, now: Instant) {
        if self.seen.arrived_here == 0 && self.seen.sent > 0 && !self.plan.patience.is_zero() {
            // The kernel takes its time to say that nobody has an address.
            self.due = now + std::mem::take(&mut self.plan.patience);
            return;
        }
        self.due = now;
        match self.plan.search {
            Some(high) if self.seen.arrived_here > 0 => {
                // That a full one came says little: it may have come in fragments.
                let low = SIZE_MIN as u16;
                let search = Search { low, high, first: 0, tries: 0, until: now };
                self.searches = [Some(search); 2];
                self.phase = Phase::Searching;
            }
            Some(_) | None => self.phase = Phase::Tallying(TALLIES),
        }
    }

    /// Tries the next size wherever the last try is decided.
    fn search(&mut self, now: Instant) {
        let patience = TRY_WAIT.max(Duration::from_micros(self.seen.trips[2]) * 2);
        for direction in [THERE, HERE] {
            let Some(mut search) = self.searches[direction] else { continue };
            if search.tries == TRIES && now >= search.until {
                search.high = search.size() - 1;
                search.tries = 0;
            }
            if !search.is_over() && (search.tries == 0 || now >= search.until) {
                let size = search.size();
                let sequence = if direction == THERE {
                    self.ask(now, usize::from(size), 0, Flags::default(), true)
                } else {
                    self.ask(now, SIZE_MIN, size, Flags::WHOLE, false)
                };
                if search.tries == 0 {
                    search.first = sequence;
                }
                search.tries += 1;
                search.until = now + patience;
            }
            self.searches[direction] = Some(search);
        }
        let left = self.searches.iter().flatten().filter(|search| !search.is_over());
        match left.map(|search| search.until).min() {
            Some(until) => self.due = until.max(now + Duration::from_nanos(1)),
            None => {
                self.seen.largest_there = self.searches[THERE].map(|search| search.low);
                self.seen.largest_here = self.searches[HERE].map(|search| search.low);
                self.phase = Phase::Tallying(TALLIES);
                self.due = now;
            }
        }
    }

    fn tally(&mut self, now: Instant, left: u32) {
        if left == 0 {
            self.phase = Phase::Done;
            return;
        }
        self.ask(now, SIZE_MIN, 0, Flags::TALLY, false);
        self.phase = Phase::Tallying(left - 1);
        self.due = now + TALLY_INTERVAL;
    }

    /// An authentic answer of this run came, `size` bytes long.
    pub fn answer(&mut self, now: Instant, body: &Body, size: usize) {
        if body.flags.has(Flags::TALLY) {
            if matches!(self.phase, Phase::Tallying(_)) {
                self.learn(body);
                self.phase = Phase::Done;
            }
            return;
        }
        if body.flags.has(Flags::COUNTS) {
            if !self.answered.insert(body.sequence) {
                return;
            }
            self.learn(body);
            self.seen.arrived_here += 1;
            let is_full = body.sequence % 2 == 1 && self.plan.full > SIZE_MIN;
            let kind = if is_full { &mut self.seen.full } else { &mut self.seen.short };
            kind[1] += 1;
            let trip = now.since(Instant::from_nanos(body.stamp)).as_micros();
            let trip = u64::try_from(trip).unwrap_or(u64::MAX);
            let [least, sum, most] = &mut self.seen.trips;
            *least = if self.seen.arrived_here == 1 { trip } else { trip.min(*least) };
            *sum = sum.saturating_add(trip);
            *most = trip.max(*most);
            let all = self.seen.arrived_here == self.seen.sent;
            if self.phase == Phase::Lingering && all {
                self.due = now;
            }
            return;
        }
        let direction = if body.flags.has(Flags::WHOLE) { HERE } else { THERE };
        let Some(search) = &mut self.searches[direction] else { return };
        if search.is_over() || search.tries == 0 || body.sequence < search.first {
            return;
        }
        if body.flags.has(Flags::TOO_LARGE) {
            search.high = search.size() - 1;
        } else if direction == THERE || size == usize::from(search.size()) {
            search.low = search.size();
        } else {
            return;
        }
        search.tries = 0;
        self.due = now;
    }

    fn learn(&mut self, body: &Body) {
        let seen = &mut self.seen;
        seen.arrived_there = seen.arrived_there.max(Some(body.got));
        seen.answered_there = seen.answered_there.max(Some(body.answered));
        seen.is_busy |= body.flags.has(Flags::BUSY);
    }

    /// An ask did not leave this node.
    pub fn stopped(&mut self, now: Instant, body: &Body, why: Stopped) {
        if body.flags.has(Flags::COUNTS) {
            self.seen.stopped = Some(why);
            let is_full = body.sequence % 2 == 1 && self.plan.full > SIZE_MIN;
            let kind = if is_full { &mut self.seen.full } else { &mut self.seen.short };
            kind[0] -= 1;
            self.seen.sent -= 1;
        }
        let Some(search) = &mut self.searches[THERE] else { return };
        let is_present = search.tries > 0 && body.sequence >= search.first && !search.is_over();
        let is_search = body.flags == Flags::default();
        if why == Stopped::TooLarge && is_present && is_search {
            search.high = search.size() - 1;
            search.tries = 0;
            self.due = now;
        }
    }

    /// The network said something about an ask on this path.
    pub fn hint(&mut self, now: Instant, hint: Hint) {
        if self.phase != Phase::Done {
            self.seen.hint = Some(hint);
        }
        if self.phase == Phase::Lingering {
            self.plan.patience = Duration::ZERO;
            self.due = self.due.min(now + TRY_WAIT);
        }
    }
}

//! How fast failures are noticed, and what follows from it.
//!
//! Four presets; each field can be overridden within the constraints of [`Timing::check`]. The
//! time after which a lost node's services may start elsewhere is derived, never typed in.

use core::fmt;
use core::time::Duration;

use minicbor::{Decode, Encode};

/// A named set of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Preset {
    /// 20 ms heartbeats: a LAN, a real-time class, machines tuned for it.
    #[n(0)]
    Ultra,
    /// 50 ms heartbeats: a LAN.
    #[n(1)]
    Fast,
    /// 200 ms heartbeats: servers. The default.
    #[default]
    #[n(2)]
    Normal,
    /// The values of LLT (VERITAS Cluster Server): 500 ms heartbeats, 16 s until a peer is lost.
    #[n(3)]
    Classic,
}

impl Preset {
    /// All presets, the fastest first.
    pub const ALL: [Preset; 4] = [Preset::Ultra, Preset::Fast, Preset::Normal, Preset::Classic];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Preset::Ultra => "ultra",
            Preset::Fast => "fast",
            Preset::Normal => "normal",
            Preset::Classic => "classic",
        }
    }

    /// The preset of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Preset> {
        Preset::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// The times of this preset.
    #[must_use]
    pub const fn timing(self) -> Timing {
        // Columns: heartbeat high/low, trouble high/low, path timeout, collect, stall, lease,
        // release, tie budget, hold, start wait, disk timeout, serial timeout. The handicap takes the
        // whole budget.
        const fn row(ms: [u64; 14]) -> Timing {
            Timing {
                heartbeat_high: Duration::from_millis(ms[0]),
                heartbeat_low: Duration::from_millis(ms[1]),
                trouble_high: Duration::from_millis(ms[2]),
                trouble_low: Duration::from_millis(ms[3]),
                path_timeout: Duration::from_millis(ms[4]),
                collect: Duration::from_millis(ms[5]),
                stall: Duration::from_millis(ms[6]),
                lease: Duration::from_millis(ms[7]),
                release: Duration::from_millis(ms[8]),
                tie_budget: Duration::from_millis(ms[9]),
                tie_handicap: Duration::from_millis(ms[9]),
                hold: Duration::from_millis(ms[10]),
                start_wait: Duration::from_millis(ms[11]),
                disk_timeout: Duration::from_millis(ms[12]),
                serial_timeout: Duration::from_millis(ms[13]),
            }
        }
        match self {
            Preset::Ultra => {
                row([20, 40, 50, 50, 100, 50, 1000, 250, 50, 50, 500, 5000, 2000, 1000])
            }
            Preset::Fast => {
                row([50, 100, 125, 125, 250, 150, 2000, 750, 100, 200, 1000, 5000, 2000, 1000])
            }
            Preset::Normal => {
                row([200, 400, 500, 500, 1000, 500, 5000, 2400, 500, 500, 2000, 10_000, 4000, 2000])
            }
            Preset::Classic => row([
                500, 1000, 2000, 4000, 16_000, 1000, 10_000, 19_000, 2000, 1000, 4000, 20_000,
                16_000, 16_000,
            ]),
        }
    }
}

/// All configurable times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats on a path of high priority.
    pub heartbeat_high: Duration,
    /// Between two heartbeats on a path of low priority.
    pub heartbeat_low: Duration,
    /// Silence after which a high path is in trouble: no data, heartbeats go on.
    pub trouble_high: Duration,
    /// Silence after which a low path is in trouble.
    pub trouble_low: Duration,
    /// Silence after which a path is dead.
    pub path_timeout: Duration,
    /// The longest wait of a coordinator for the promises of connected members.
    pub collect: Duration,
    /// A member that beats but acknowledges nothing for this long is removed.
    pub stall: Duration,
    /// L: how long evidence of a majority allows a node to own services.
    pub lease: Duration,
    /// R: how long the guard may take to make a service stop working once its lease is over.
    pub release: Duration,
    /// What a view change may wait for a tie-breaker.
    pub tie_budget: Duration,
    /// How much later a half asks the tie-breaker that reaches no gateway, when the other one does.
    pub tie_handicap: Duration,
    /// How long a returning node must be steadily connected before it joins; doubled per return.
    pub hold: Duration,
    /// After the first formation or a cold start, how long to wait for absent nodes before
    /// services are placed.
    pub start_wait: Duration,
    /// Silence after which a path over a shared disk is dead. Disks are slow now and then.
    pub disk_timeout: Duration,
    /// Silence after which a path over a serial line is dead.
    pub serial_timeout: Duration,
}

/// What a path runs over, as far as times depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Medium {
    /// Datagrams or frames on a network.
    #[default]
    Network,
    /// Blocks of a shared disk.
    Disk,
    /// A serial line.
    Serial,
}

/// Heartbeats on a disk are at least so far apart that this many fit into the timeout: one waits for
/// its write, the reader's look and its read, and three in a row may be late.
const DISK_HEARTBEATS: u32 = 8;
/// Likewise on a serial line, where bytes are few and order is certain.
const SERIAL_HEARTBEATS: u32 = 5;

/// Assumed bound on the difference of two clocks' rates, per mille (design assumption A3).
pub const CLOCK_RATE_ERROR_PERMILLE: u32 = 5;
/// Granularity of clocks and timers, added once to every fence wait.
pub const CLOCK_GRANULARITY: Duration = Duration::from_millis(20);

/// What took at most `held` on the lost node's clock is over after this on another one.
fn bounded(held: Duration) -> Duration {
    held + held * 2 * CLOCK_RATE_ERROR_PERMILLE / 1000 + CLOCK_GRANULARITY
}

impl Timing {
    /// F: after so long without contact a lost node's contained services (addresses, processes)
    /// have stopped working: `(L + R)(1 + 2ρ) + ε`, counted on the survivors' clocks.
    #[must_use]
    pub fn fence_wait(&self) -> Duration {
        bounded(self.lease + self.release)
    }

    /// δ: a watchdog is fed only on evidence that is at most so old. Half of the lease: evidence as it
    /// comes in day by day is younger on every medium on which a lease can be kept at all, and a machine
    /// that is fed has a lease.
    #[must_use]
    pub fn feeding_evidence(&self) -> Duration {
        self.lease / 2
    }

    /// F for a storage service whose machine has an armed watchdog of timeout `watchdog` (w): after so
    /// long without contact the machine was reset: `(w + δ)(1 + 2ρ) + ε`, counted on the survivors'
    /// clocks.
    #[must_use]
    pub fn storage_fence_wait(&self, watchdog: Duration) -> Duration {
        bounded(watchdog + self.feeding_evidence())
    }

    /// The shortest timeout of a watchdog that does not reset a machine which only lost its lease: the
    /// guard has the time L + R to end the services, and feeds again when nothing of them is left.
    /// Drivers count in whole seconds, so this is rounded up to the next one.
    #[must_use]
    pub fn watchdog_min(&self) -> Duration {
        Duration::from_secs((self.lease + self.release).as_secs() + 1)
    }

    /// Between two heartbeats on a path: at the full rate, or at the low one.
    #[must_use]
    pub fn interval(&self, medium: Medium, high: bool) -> Duration {
        let interval = if high { self.heartbeat_high } else { self.heartbeat_low };
        match medium {
            Medium::Network => interval,
            Medium::Disk => interval.max(self.disk_timeout / DISK_HEARTBEATS),
            Medium::Serial => interval.max(self.serial_timeout / SERIAL_HEARTBEATS),
        }
    }

    /// Silence after which a path is in trouble: no data, heartbeats go on.
    #[must_use]
    pub fn trouble(&self, medium: Medium, high: bool) -> Duration {
        match (medium, high) {
            (Medium::Network, true) => self.trouble_high,
            (Medium::Network, false) => self.trouble_low,
            (Medium::Disk | Medium::Serial, _) => self.timeout(medium) / 2,
        }
    }

    /// Silence after which a path is dead.
    #[must_use]
    pub fn timeout(&self, medium: Medium) -> Duration {
        match medium {
            Medium::Network => self.path_timeout,
            Medium::Disk => self.disk_timeout,
            Medium::Serial => self.serial_timeout,
        }
    }

    /// How long one half of a view leaves the tie-breaker to the other, which carries more. Both
    /// notice their separation within a heartbeat of each other.
    #[must_use]
    pub fn tie_courtesy(&self) -> Duration {
        self.tie_budget * 3 / 4
    }

    /// The longest that a driver may sleep between two turns. Also bounds what one turn adds to
    /// the patient clock.
    #[must_use]
    pub fn turn(&self) -> Duration {
        self.heartbeat_high / 2
    }

    /// Refuses times that would make a healthy cluster fail, or a lost node everybody's outage.
    ///
    /// # Errors
    /// The first constraint that does not hold, with both its sides.
    pub fn check(&self) -> Result<(), TimingError> {
        let least_interval = Duration::from_millis(10);
        let rule = |rule, left: Duration, right: Duration| {
            if left < right { Err(TimingError { rule, left, right }) } else { Ok(()) }
        };
        rule("heartbeat ≥ 10 ms", self.heartbeat_high, least_interval)?;
        rule("low heartbeat ≥ high heartbeat", self.heartbeat_low, self.heartbeat_high)?;
        rule("path timeout ≥ 5 heartbeats", self.path_timeout, self.heartbeat_high * 5)?;
        rule("path timeout ≥ trouble", self.path_timeout, self.trouble_high.max(self.trouble_low))?;
        rule("disk timeout ≥ path timeout", self.disk_timeout, self.path_timeout)?;
        rule("serial timeout ≥ path timeout", self.serial_timeout, self.path_timeout)?;
        rule("stall ≥ path timeout", self.stall, self.path_timeout.min(Duration::from_secs(10)))?;
        // Both halves notice their separation within a heartbeat of each other.
        rule("tie handicap ≥ heartbeat", self.tie_handicap, self.heartbeat_high)?;
        rule("tie budget ≥ tie handicap", self.tie_budget, self.tie_handicap)?;
        let change = self.path_timeout + self.heartbeat_high + self.collect + self.tie_budget;
        rule(
            "lease > path timeout + heartbeat + collect + tie budget",
            self.lease,
            change + Duration::from_millis(1),
        )
    }
}

/// A constraint between times that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimingError {
    /// The constraint, in words.
    pub rule: &'static str,
    /// The left side's value.
    pub left: Duration,
    /// The least that the left side may be.
    pub right: Duration,
}

impl fmt::Display for TimingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not hold: {:?} is less than {:?}", self.rule, self.left, self.right)
    }
}

impl core::error::Error for TimingError {}

//! What both sides tell each other about the watchdog.
//!
//! The daemon writes a request down (which device, which timeout), then its number; the guard arms the
//! device when that may be, writes what came of it, then the same number. One request at a time. The
//! evidence on which the device is fed is a moment in a word of its own: it grows by itself when the
//! daemon is well, and says nothing when it is not.

use std::ffi::CStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::Instant;
use base::feeding::Sight;

use super::layout::{self, get, hot, put};
use super::{DaemonSide, GuardSide};
use crate::watchdog::{PATH_MAX, Step, WatchdogError};

/// What the guard is asked to arm, in fixed memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogRequest {
    /// Its number.
    pub number: u64,
    /// The timeout that is wanted.
    pub timeout: Duration,
    /// Below this it is of no use.
    pub least: Duration,
    device: [u8; layout::DEVICE * 8],
}

impl WatchdogRequest {
    /// A request for this device. `None`: its path is longer than [`PATH_MAX`], or has a zero in it.
    #[must_use]
    pub fn new(device: &str, timeout: Duration, least: Duration) -> Option<WatchdogRequest> {
        let mut bytes = [0; layout::DEVICE * 8];
        if device.is_empty() || device.len() > PATH_MAX || device.contains('\0') {
            return None;
        }
        bytes[..device.len()].copy_from_slice(device.as_bytes());
        Some(WatchdogRequest { number: 0, timeout, least, device: bytes })
    }

    /// The path of the device.
    #[must_use]
    pub fn device(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.device).unwrap_or_default()
    }
}

/// The watchdog, as the daemon sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchdogStatus {
    /// A request was not answered yet.
    pub asked: bool,
    /// The path of the armed device.
    pub device: Option<String>,
    /// Its timeout in force, while it is armed.
    pub timeout: Option<Duration>,
    /// Why it could not be armed.
    pub error: Option<WatchdogError>,
    /// It could not be armed, runs with this timeout, and cannot be stopped: the guard feeds it always.
    pub held: Option<Duration>,
    /// When it was fed last.
    pub fed: Option<Instant>,
    /// Why the last feeding failed.
    pub feed_error: Option<WatchdogError>,
    /// How often a feeding came through too late and was made shorter.
    pub late: u64,
    /// A former guard had armed it.
    pub adopted: bool,
}

fn word(error: Option<WatchdogError>) -> u64 {
    error.map_or(0, |error| {
        let step = Step::ALL.iter().position(|step| *step == error.step).unwrap_or(0);
        layout::PRESENT | (step as u64) << 32 | u64::from(error.errno.cast_unsigned())
    })
}

fn error(word: u64) -> Option<WatchdogError> {
    if word & layout::PRESENT == 0 {
        return None;
    }
    let step = (word >> 32 & 0xff) as usize;
    let step = Step::ALL.get(step).copied().unwrap_or(Step::Ask);
    Some(WatchdogError { step, errno: (word as u32).cast_signed() })
}

impl DaemonSide {
    /// Tells the guard the newest evidence X that this life has ([`Instant::ZERO`]: none), and how old it
    /// may be for a feeding.
    pub fn set_evidence(&mut self, evidence: Instant, freshness: Duration) {
        let words = self.mapping.words();
        put(words, layout::FRESHNESS, nanos(freshness));
        words[layout::EVIDENCE].store(evidence.as_nanos(), Ordering::Release);
    }

    /// What feeding depends on, as it is now.
    #[must_use]
    pub fn sight(&self) -> Sight {
        sight(self.mapping.words())
    }

    /// The timeout in force, while the watchdog is armed: one load.
    #[must_use]
    pub fn watchdog_timeout(&self) -> Option<Duration> {
        let nanos = self.mapping.words()[layout::WATCHDOG_TIMEOUT].load(Ordering::Acquire);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// Asks the guard to arm the watchdog. False: the request before is not answered yet, and nothing was
    /// asked.
    pub fn arm_watchdog(&mut self, request: &WatchdogRequest) -> bool {
        let words = self.mapping.words();
        let number = get(words, layout::WATCHDOG_REQUEST);
        if words[layout::WATCHDOG_ANSWERED].load(Ordering::Acquire) != number {
            return false;
        }
        put(words, layout::WATCHDOG_WANTED, nanos(request.timeout));
        put(words, layout::WATCHDOG_LEAST, nanos(request.least));
        let place = &words[layout::WATCHDOG_DEVICE..][..layout::DEVICE];
        layout::put_bytes(place, &request.device);
        words[layout::WATCHDOG_REQUEST].store(number + 1, Ordering::Release);
        self.bell.ring();
        true
    }

    /// The watchdog, as far as the guard has told.
    #[must_use]
    pub fn watchdog(&self) -> WatchdogStatus {
        let words = self.mapping.words();
        // First the number, then what was written before it.
        let answered = words[layout::WATCHDOG_ANSWERED].load(Ordering::Acquire);
        let moment = |at| Some(get(words, at)).filter(|nanos| *nanos != 0);
        let timeout = moment(layout::WATCHDOG_TIMEOUT).map(Duration::from_nanos);
        let device = timeout.map(|_| {
            let mut bytes = [0; layout::DEVICE * 8];
            layout::get_bytes(&words[layout::WATCHDOG_ARMED..][..layout::DEVICE], &mut bytes);
            let path = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
            path.to_string_lossy().into_owned()
        });
        WatchdogStatus {
            asked: answered != get(words, layout::WATCHDOG_REQUEST),
            device,
            timeout,
            error: error(get(words, layout::WATCHDOG_ERROR)),
            held: moment(layout::WATCHDOG_HELD).map(Duration::from_nanos),
            fed: moment(layout::WATCHDOG_FED).map(Instant::from_nanos),
            feed_error: error(get(words, layout::WATCHDOG_FEED_ERROR)),
            late: get(words, layout::WATCHDOG_LATE),
            adopted: get(words, layout::WATCHDOG_ADOPTED) != 0,
        }
    }
}

impl GuardSide {
    /// What feeding depends on, as it is now.
    #[must_use]
    pub fn sight(&self) -> Sight {
        sight(self.mapping.words())
    }

    /// The request that is not answered yet.
    #[must_use]
    pub fn watchdog_request(&self) -> Option<WatchdogRequest> {
        let words = self.mapping.words();
        let number = words[layout::WATCHDOG_REQUEST].load(Ordering::Acquire);
        if number == get(words, layout::WATCHDOG_ANSWERED) {
            return None;
        }
        let mut device = [0; layout::DEVICE * 8];
        layout::get_bytes(&words[layout::WATCHDOG_DEVICE..][..layout::DEVICE], &mut device);
        Some(WatchdogRequest {
            number,
            timeout: Duration::from_nanos(get(words, layout::WATCHDOG_WANTED)),
            least: Duration::from_nanos(get(words, layout::WATCHDOG_LEAST)),
            device,
        })
    }

    /// Tells the daemon that a request is answered: what came of it was written before.
    pub fn answer_watchdog(&self, number: u64) {
        self.mapping.words()[layout::WATCHDOG_ANSWERED].store(number, Ordering::Release);
    }

    /// Writes down that the device of a request is armed, and with which timeout.
    pub fn set_watchdog_armed(&self, request: &WatchdogRequest, timeout: Duration, adopted: bool) {
        let words = self.mapping.words();
        let place = &words[layout::WATCHDOG_ARMED..][..layout::DEVICE];
        layout::put_bytes(place, &request.device);
        put(words, layout::WATCHDOG_ADOPTED, u64::from(adopted));
        put(words, layout::WATCHDOG_ERROR, 0);
        put(words, layout::WATCHDOG_HELD, 0);
        words[layout::WATCHDOG_TIMEOUT].store(nanos(timeout), Ordering::Release);
    }

    /// Writes down why it could not be armed.
    pub fn set_watchdog_error(&self, error: WatchdogError) {
        put(self.mapping.words(), layout::WATCHDOG_ERROR, word(Some(error)));
    }

    /// Writes down that it could not be armed, runs with this timeout, and cannot be stopped.
    pub fn set_watchdog_held(&self, error: WatchdogError, timeout: Duration) {
        put(self.mapping.words(), layout::WATCHDOG_HELD, nanos(timeout));
        self.set_watchdog_error(error);
    }

    /// Writes down when it was fed.
    pub fn set_watchdog_fed(&self, at: Instant) {
        put(self.mapping.words(), layout::WATCHDOG_FEED_ERROR, 0);
        put(self.mapping.words(), layout::WATCHDOG_FED, at.as_nanos());
    }

    /// Writes down why it could not be fed.
    pub fn set_watchdog_feed_error(&self, error: WatchdogError) {
        put(self.mapping.words(), layout::WATCHDOG_FEED_ERROR, word(Some(error)));
    }

    /// Writes down how often a feeding came through too late.
    pub fn set_watchdog_late(&self, count: u64) {
        put(self.mapping.words(), layout::WATCHDOG_LATE, count);
    }
}

fn sight(words: &[std::sync::atomic::AtomicU64]) -> Sight {
    let used = words[layout::USED].load(Ordering::Acquire);
    let used = usize::try_from(used).unwrap_or(usize::MAX).min(super::ENTRIES_MAX);
    let (mut storage, mut killed) = (false, false);
    for hot in (0..used).map(|slot| hot(words, slot)) {
        let generation = hot[layout::GENERATION].load(Ordering::Acquire);
        if generation & 1 == 1 && hot[layout::STORAGE].load(Ordering::Acquire) != 0 {
            storage = true;
            killed |= hot[layout::KILLED_GENERATION].load(Ordering::Acquire) == generation;
        }
    }
    Sight {
        evidence: Instant::from_nanos(words[layout::EVIDENCE].load(Ordering::Acquire)),
        freshness: Duration::from_nanos(get(words, layout::FRESHNESS)),
        storage,
        killed,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

//! The loop's half and the thread with a device that is made up. Moments are the real clock's, and nothing
//! is asserted about how long something takes: evidence is either an hour too old or an hour ahead.

use std::sync::Mutex;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
/// Fed every millisecond.
const TIMEOUT: Duration = Duration::from_millis(8);

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Armed(String, Duration),
    Fed,
    Timeout(Duration),
    Disarmed,
}

/// What the test decides, and what was done.
struct Scene {
    sight: Sight,
    told: Vec<Told>,
    refuses: Option<WatchdogError>,
    /// When the device is fed, evidence becomes as old as this before it comes back.
    held_up: Option<Duration>,
}

struct Fake(Arc<Mutex<Scene>>);

impl Fake {
    fn take(&self, told: Told) -> Result<(), WatchdogError> {
        let mut scene = self.0.lock().unwrap();
        if let Some(age) = scene.held_up.take() {
            let now = os::clock::boottime();
            scene.sight.evidence = now.minus(age + scene.sight.freshness);
        }
        scene.told.push(told);
        scene.refuses.map_or(Ok(()), Err)
    }
}

impl Device for Fake {
    fn arm(
        &mut self,
        path: &CStr,
        wanted: Duration,
        _: Duration,
    ) -> Result<Duration, WatchdogError> {
        self.take(Told::Armed(path.to_str().unwrap().to_owned(), wanted)).map(|()| TIMEOUT)
    }

    fn feed(&mut self) -> Result<(), WatchdogError> {
        self.take(Told::Fed)
    }

    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError> {
        self.take(Told::Timeout(timeout)).map(|()| timeout)
    }

    fn disarm(&mut self) -> Result<(), WatchdogError> {
        self.take(Told::Disarmed)
    }
}

struct Stage {
    scene: Arc<Mutex<Scene>>,
    shared: Arc<GuardSide>,
    watchdog: Watchdog,
    record: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

/// A guard that takes over `/dev/watchdog7` of a former one.
fn stage(storage: bool, evidence: Duration) -> Stage {
    let now = os::clock::boottime();
    let sight =
        Sight { evidence: now + HOUR, freshness: Duration::from_secs(1), storage, killed: false };
    let sight = Sight { evidence: sight.evidence.minus(evidence), ..sight };
    let scene = Scene { sight, told: Vec::new(), refuses: None, held_up: None };
    let scene = Arc::new(Mutex::new(scene));
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("watchdog");
    let shared = Arc::new(GuardSide::create().unwrap());
    let seen = scene.clone();
    let look: Look = Arc::new(move || seen.lock().unwrap().sight);
    let former = parse("/dev/watchdog7\n10\n");
    let watchdog =
        Watchdog::start_with(shared.clone(), &record, former, Fake(scene.clone()), look).unwrap();
    Stage { scene, shared, watchdog, record, _directory: directory }
}

impl Stage {
    /// One turn of the loop, and whatever it ordered carried out and taken note of.
    fn turn(&mut self) {
        self.watchdog.turn(&self.shared, os::clock::boottime());
        while self.watchdog.feeding.is_busy() {
            std::thread::yield_now();
            self.watchdog.take_result(&self.shared, os::clock::boottime());
        }
    }

    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.scene.lock().unwrap().told)
    }

    /// Turns until something was done with the device.
    fn until_told(&mut self) -> Vec<Told> {
        loop {
            self.turn();
            let told = self.told();
            if !told.is_empty() {
                return told;
            }
        }
    }

    fn see(&self, change: impl FnOnce(&mut Sight)) {
        change(&mut self.scene.lock().unwrap().sight);
    }
}

fn taken_over() -> Vec<Told> {
    vec![Told::Armed("/dev/watchdog7".to_owned(), Duration::from_secs(10))]
}

#[test]
fn what_a_former_guard_armed_is_taken_over_fed_and_stopped_at_a_clean_end() {
    let mut stage = stage(false, HOUR + HOUR);
    assert_eq!(stage.until_told(), taken_over());
    let record = fs::read_to_string(&stage.record).unwrap();
    assert_eq!(record, "/dev/watchdog7\n10\n", "the next guard takes it over, too");
    assert_eq!(stage.until_told(), [Told::Fed]);
    assert_eq!(stage.until_told(), [Told::Fed], "a clean machine without evidence");
    let (scene, record) = (stage.scene.clone(), stage.record.clone());
    stage.watchdog.end();
    assert_eq!(scene.lock().unwrap().told, [Told::Disarmed]);
    assert!(!record.exists());
}

#[test]
fn with_a_storage_service_and_old_evidence_it_is_neither_fed_nor_stopped() {
    let mut stage = stage(false, Duration::ZERO);
    assert_eq!(stage.until_told(), taken_over());
    stage.see(|sight| *sight = Sight { evidence: Instant::from_nanos(1), storage: true, ..*sight });
    for _ in 0..1_000 {
        stage.turn();
        std::thread::yield_now();
    }
    assert_eq!(stage.told(), [], "long after the interval");
    let (scene, record) = (stage.scene.clone(), stage.record.clone());
    stage.watchdog.end();
    assert_eq!(scene.lock().unwrap().told, [], "it stays armed");
    assert!(record.exists());
}

#[test]
fn an_order_that_waited_too_long_is_not_carried_out() {
    let mut stage = stage(true, Duration::ZERO);
    assert_eq!(stage.until_told(), taken_over());
    // The loop sees good evidence; by the time the thread looks it is old.
    stage.see(|sight| sight.evidence = Instant::from_nanos(1));
    let evidence = os::clock::boottime() + HOUR + HOUR;
    let fresh = Sight { evidence, freshness: HOUR, storage: true, killed: false };
    stage.watchdog.sight = Arc::new(move || fresh);
    let before = stage.watchdog.desk.ordered.load(Ordering::Relaxed);
    while stage.watchdog.desk.ordered.load(Ordering::Relaxed) == before {
        stage.turn();
    }
    assert_eq!(stage.told(), []);
    assert_eq!(stage.watchdog.desk.result.load(Ordering::Relaxed), NOT_FED);
}

#[test]
fn a_feeding_that_was_held_up_is_made_shorter_until_the_next_one() {
    let mut stage = stage(true, Duration::ZERO);
    assert_eq!(stage.until_told(), taken_over());
    stage.scene.lock().unwrap().held_up = Some(Duration::from_secs(4));
    stage.see(|sight| sight.evidence = os::clock::boottime() + HOUR + HOUR);
    let told = stage.until_told();
    // Of 8 ms nothing is left, and the device counts in seconds.
    assert_eq!(told, [Told::Fed, Told::Timeout(Duration::from_secs(1))]);
    stage.see(|sight| sight.evidence = os::clock::boottime() + HOUR + HOUR + HOUR);
    assert_eq!(stage.until_told(), [Told::Timeout(TIMEOUT)], "what everybody counts on again");
    stage.see(|sight| sight.evidence = os::clock::boottime() + HOUR * 4);
    assert_eq!(stage.until_told(), [Told::Fed]);
}

#[test]
fn what_refuses_is_told_and_a_device_that_fails_is_tried_again() {
    let mut stage = stage(false, Duration::ZERO);
    stage.scene.lock().unwrap().refuses =
        Some(WatchdogError { step: Step::Open, errno: rustix::io::Errno::BUSY.raw_os_error() });
    assert_eq!(stage.until_told(), taken_over());
    assert_eq!(stage.watchdog.feeding.timeout(), None);
    assert!(!stage.record.exists(), "nothing to be taken over");
    for _ in 0..1_000 {
        stage.turn();
    }
    assert_eq!(stage.told(), [], "once, until somebody asks");
}

#[test]
fn a_record_that_says_nothing_is_no_record() {
    for text in ["", "/dev/watchdog0", "/dev/watchdog0\nten\n", "\n10\n"] {
        assert!(parse(text).is_none(), "{text:?}");
    }
    let former = parse("/dev/watchdog0\n10\n").unwrap().0;
    assert_eq!(former.device(), c"/dev/watchdog0");
    assert_eq!((former.timeout, former.least), (Duration::from_secs(10), Duration::ZERO));
}

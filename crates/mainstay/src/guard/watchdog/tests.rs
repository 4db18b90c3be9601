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
    /// When the device is fed next, and then, evidence has become too old by this before it comes back.
    held_up: Vec<Duration>,
    /// The timeout that it takes whatever it is given.
    takes: Option<Duration>,
    /// What it refuses when it is armed; it runs all the same.
    useless: Option<WatchdogError>,
    /// What is useless can be stopped.
    stops: bool,
    is_open: bool,
}

struct Fake(Arc<Mutex<Scene>>);

impl Fake {
    fn take(&self, told: Told) -> Result<(), WatchdogError> {
        let mut scene = self.0.lock().unwrap();
        if !scene.held_up.is_empty() {
            let late = scene.held_up.remove(0);
            let now = os::clock::boottime();
            scene.sight.evidence = now.minus(late + scene.sight.freshness);
        }
        scene.told.push(told);
        scene.refuses.map_or(Ok(()), Err)
    }
}

impl Device for Fake {
    fn arm(&mut self, path: &CStr, wanted: Duration, _: Duration) -> Result<Duration, Refused> {
        self.take(Told::Armed(path.to_str().unwrap().to_owned(), wanted))?;
        let mut scene = self.0.lock().unwrap();
        scene.is_open = scene.useless.is_none() || !scene.stops;
        match scene.useless {
            None => Ok(TIMEOUT),
            Some(error) => Err(Refused { error, runs: (!scene.stops).then_some(TIMEOUT) }),
        }
    }

    fn feed(&mut self) -> Result<(), WatchdogError> {
        self.take(Told::Fed)
    }

    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError> {
        self.take(Told::Timeout(timeout))?;
        Ok(self.0.lock().unwrap().takes.unwrap_or(timeout))
    }

    fn is_open(&self) -> bool {
        self.0.lock().unwrap().is_open
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

fn scene(sight: Sight) -> Arc<Mutex<Scene>> {
    Arc::new(Mutex::new(Scene {
        sight,
        told: Vec::new(),
        refuses: None,
        held_up: Vec::new(),
        takes: None,
        useless: None,
        stops: false,
        is_open: false,
    }))
}

/// A guard that takes over `/dev/watchdog7` of a former one.
fn stage(storage: bool, evidence: Duration) -> Stage {
    let now = os::clock::boottime();
    let sight =
        Sight { evidence: now + HOUR, freshness: Duration::from_secs(1), storage, killed: false };
    let sight = Sight { evidence: sight.evidence.minus(evidence), ..sight };
    let scene = scene(sight);
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
        let is_busy = |watchdog: &Watchdog| {
            watchdog.feeding.is_busy() || watchdog.held.is_some_and(|held| held.is_busy)
        };
        while is_busy(&self.watchdog) {
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

/// The thread alone, with a device of `LONG` that is armed, beside a storage service whose evidence is good
/// for an hour.
fn worker() -> (Arc<Mutex<Scene>>, Worker<Fake>) {
    let evidence = os::clock::boottime() + HOUR;
    let freshness = Duration::from_secs(1);
    let scene = scene(Sight { evidence, freshness, storage: true, killed: false });
    let seen = scene.clone();
    let request = WatchdogRequest::new("/dev/watchdog7", LONG, Duration::ZERO).unwrap();
    let worker = Worker {
        desk: Arc::new(Desk {
            bell: Bell::new().unwrap(),
            ordered: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            result: AtomicU8::new(NOT_NOW),
            timeout: AtomicU64::new(0),
            end: AtomicU8::new(GO_ON),
        }),
        shared: Arc::new(GuardSide::create().unwrap()),
        sight: Arc::new(move || seen.lock().unwrap().sight),
        device: Fake(scene.clone()),
        former: None,
        record: CString::default(),
        armed: Some((request, LONG)),
        held: None,
        shortened: false,
        failing: false,
        overdue: None,
        late: 0,
    };
    (scene, worker)
}

/// So long that what a test itself takes does not matter, and shorter than any machine has been up that
/// has built it.
const UNIT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(20 * 20);

impl Worker<Fake> {
    /// One feeding on the evidence of now, and the timeouts that were set after it.
    fn feed_once(&mut self) -> Vec<Duration> {
        let evidence = os::clock::boottime() + HOUR;
        self.device.0.lock().unwrap().sight.evidence = evidence;
        // What the device does to the evidence may only make it older than it was.
        self.feed(Instant::ZERO);
        let told = std::mem::take(&mut self.device.0.lock().unwrap().told);
        let timeouts = told.into_iter().filter_map(|told| match told {
            Told::Timeout(timeout) => Some(timeout),
            Told::Armed(..) | Told::Fed | Told::Disarmed => None,
        });
        timeouts.collect()
    }
}

fn is_about(timeout: Duration, units: u32) -> bool {
    (UNIT * (units - 1)..=UNIT * units).contains(&timeout)
}

/// What is told of feedings that came too late.
fn late(worker: &Worker<Fake>) -> (u64, Option<WatchdogError>) {
    (worker.late, worker.overdue)
}

#[test]
fn a_feeding_that_was_held_up_is_made_shorter_until_the_next_one() {
    let (scene, mut worker) = worker();
    assert_eq!(worker.feed_once(), []);
    scene.lock().unwrap().held_up = vec![UNIT * 4];
    let told = worker.feed_once();
    assert!(told.len() == 1 && is_about(told[0], 16), "{told:?}");
    assert_eq!(late(&worker), (1, None));
    assert_eq!(worker.feed_once(), [LONG], "what everybody counts on again");
    assert_eq!(worker.feed_once(), []);
    assert_eq!(late(&worker), (1, None));
}

#[test]
fn a_mend_that_is_held_up_itself_is_mended() {
    let (scene, mut worker) = worker();
    scene.lock().unwrap().held_up = vec![UNIT * 4, UNIT * 9, UNIT * 15];
    let told = worker.feed_once();
    assert!(told.len() == 3, "{told:?}");
    let mut expected = told.iter().zip([16, 11, 5]);
    assert!(expected.all(|(timeout, units)| is_about(*timeout, units)), "{told:?}");
    assert_eq!(late(&worker), (1, None), "one feeding, and in time in the end");
    assert_eq!(worker.feed_once(), [LONG]);
}

#[test]
fn a_feeding_that_cannot_be_mended_is_told_until_the_next_one() {
    let unmended = |errno| (1, Some(WatchdogError { step: Step::Late, errno }));
    // Held up again and again.
    let (scene, mut worker) = worker();
    scene.lock().unwrap().held_up = vec![UNIT, UNIT * 2, UNIT * 3, UNIT * 4];
    assert_eq!(worker.feed_once().len(), 3);
    assert_eq!(late(&worker), unmended(0));
    assert_eq!(worker.feed_once(), [LONG]);
    assert_eq!(late(&worker), (1, None));

    // The driver takes another timeout than it is given.
    let (scene, mut worker) = self::worker();
    scene.lock().unwrap().held_up = vec![UNIT * 4];
    scene.lock().unwrap().takes = Some(UNIT * 18);
    assert_eq!(worker.feed_once().len(), 3);
    assert_eq!(late(&worker), unmended(0));

    // Later than any timeout: the shortest one, and once only, since to set it is a feeding.
    let (scene, mut worker) = self::worker();
    scene.lock().unwrap().held_up = vec![UNIT * 22];
    assert_eq!(worker.feed_once(), [Duration::from_secs(1)]);
    assert_eq!(late(&worker), unmended(0));

    // The driver refuses.
    let (scene, mut worker) = self::worker();
    let sight = scene.lock().unwrap().sight;
    let invalid = rustix::io::Errno::INVAL.raw_os_error();
    scene.lock().unwrap().refuses = Some(WatchdogError { step: Step::Timeout, errno: invalid });
    let evidence = os::clock::boottime().minus(UNIT * 2);
    scene.lock().unwrap().sight = Sight { evidence, ..sight };
    worker.mend_if_late(evidence, LONG);
    assert_eq!(scene.lock().unwrap().told.len(), 3);
    assert_eq!(late(&worker), unmended(invalid));
}

#[test]
fn a_daemon_that_starts_over_takes_nothing_back_of_the_evidence_before() {
    let (scene, mut worker) = worker();
    scene.lock().unwrap().sight.evidence = Instant::ZERO;
    worker.feed(os::clock::boottime());
    assert_eq!(scene.lock().unwrap().told, [Told::Fed]);
    assert_eq!(late(&worker), (0, None));
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
fn what_is_of_no_use_and_cannot_be_stopped_is_fed_on_any_evidence_and_counts_for_nothing() {
    let mut stage = stage(false, Duration::ZERO);
    let short = WatchdogError { step: Step::TooShort, errno: 0 };
    stage.scene.lock().unwrap().useless = Some(short);
    assert_eq!(stage.until_told(), taken_over());
    assert_eq!(stage.watchdog.feeding.timeout(), None, "nothing rests on it");
    stage.see(|sight| {
        *sight = Sight { evidence: Instant::from_nanos(1), storage: true, killed: true, ..*sight };
    });
    for _ in 0..3 {
        assert_eq!(stage.until_told(), [Told::Fed]);
    }
    // One that takes no feeding is tried again.
    stage.scene.lock().unwrap().refuses = Some(WatchdogError { step: Step::Feed, errno: 5 });
    assert_eq!(stage.until_told(), [Told::Fed]);
    stage.scene.lock().unwrap().refuses = None;
    assert_eq!(stage.until_told(), [Told::Fed]);

    let (scene, record) = (stage.scene.clone(), stage.record.clone());
    assert!(record.exists(), "the next guard has to go on feeding it");
    stage.watchdog.end();
    let told = &scene.lock().unwrap().told;
    assert!(
        told.iter().all(|told| *told == Told::Fed),
        "never the letter, which it ignores: {told:?}"
    );
}

#[test]
fn beside_one_that_cannot_be_stopped_no_other_one_is_opened() {
    let (scene, mut worker) = worker();
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("watchdog");
    worker.record = CString::new(record.as_os_str().as_bytes()).unwrap();
    worker.armed = None;
    let held = WatchdogRequest::new("/dev/watchdog0", LONG, Duration::ZERO).unwrap();
    worker.held = Some((held, LONG));
    scene.lock().unwrap().is_open = true;
    worker.former = WatchdogRequest::new("/dev/watchdog7", LONG, Duration::ZERO);
    assert_eq!(worker.arm(Instant::ZERO), REFUSED);
    assert_eq!(scene.lock().unwrap().told, [], "it was not even tried");
    assert_eq!(worker.feed_held(), FED);
    // The same one is set anew, without its being closed.
    worker.former = WatchdogRequest::new("/dev/watchdog0", LONG, Duration::ZERO);
    assert_eq!(worker.arm(os::clock::boottime() + HOUR), ARMED);
    assert!(worker.held.is_none() && worker.armed.is_some());
    // It is refused again, and could be stopped this time: nothing is there to be fed.
    worker.held = worker.armed.take();
    worker.former = WatchdogRequest::new("/dev/watchdog0", LONG, Duration::ZERO);
    scene.lock().unwrap().useless = Some(WatchdogError { step: Step::TooShort, errno: 0 });
    scene.lock().unwrap().stops = true;
    assert_eq!(worker.arm(Instant::ZERO), REFUSED);
    assert!(worker.held.is_none());
    assert_eq!(worker.feed_held(), NOT_FED);
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

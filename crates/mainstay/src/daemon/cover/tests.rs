//! With real shared memory: the test is the guard, and starts itself as its daemon.

use std::time::Duration;

use base::Instant;
use os::shared::{DaemonSide, GuardSide, WatchdogRequest};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const WORD: &str = "shared-memory=";

/// What the daemon's side tries; its guard has an armed watchdog.
fn tried(shared: DaemonSide) {
    let mut cover = Cover::new(shared, None);
    let until = os::clock::boottime() + HOUR;
    let old = |cover: &mut Cover| cover.shared().set_evidence(Instant::from_nanos(1), HOUR / 3600);
    let start = |cover: &mut Cover, service: &str, storage| {
        cover.starting(service, "server", None, until, storage)
    };
    old(&mut cover);
    start(&mut cover, "web", false).expect("it is contained");
    assert!(!cover.sight().storage);

    // Nothing new is left of what was not entered, and it is no fault of the service.
    let refused = start(&mut cover, "db", true).expect_err("evidence is old");
    assert!(matches!(refused, Refused::NotNow(_)), "{refused:?}");
    assert!(!cover.sight().storage && !cover.services.contains_key("db"));
    assert_eq!(cover.shared().entries().len(), 1);

    // What runs was in the guard's sight before evidence was looked at, and stays so.
    start(&mut cover, "web", true).expect_err("evidence is old");
    assert!(cover.sight().storage);
    cover.ended("web", "server");
    cover.settle(|_| false);
    assert!(!cover.sight().storage);

    let now = os::clock::boottime();
    cover.shared().set_evidence(now, HOUR);
    start(&mut cover, "db", true).expect("evidence is fresh");
    assert!(cover.sight().storage);
    cover.ended("db", "server");
    cover.settle(|_| false);

    // What this daemon ends in the guard's place stays entered, and is not started again, until that is over.
    start(&mut cover, "web", false).expect("it is contained");
    assert_eq!(cover.unended().collect::<Vec<_>>(), [("web", until)]);
    let permit = cover.permit("web").expect("it was entered");
    cover.begin_ending("web");
    let refused = start(&mut cover, "web", false).expect_err("it is being ended");
    assert!(matches!(refused, Refused::NotNow(_)), "{refused:?}");
    cover.ended("web", "server");
    cover.settle(|_| false);
    assert_eq!((cover.unended().count(), cover.shared().entries().len()), (0, 1));
    assert!(permit.is_valid() && !permit.is_over());
    cover.push("web", Instant::from_nanos(1));
    assert!(!permit.is_valid() && permit.is_over());
    cover.finish_ending("web");
    cover.settle(|_| false);
    assert_eq!(cover.shared().entries().len(), 0);
    assert!(!permit.is_valid() && !permit.is_over(), "what was released is nobody's");

    // What becomes one of storage while it runs.
    start(&mut cover, "web", false).expect("it is contained");
    cover.mark_storage(|service| service == "db");
    assert!(!cover.sight().storage);
    cover.mark_storage(|service| service == "web");
    assert!(cover.sight().storage && cover.shared().entries()[0].description.storage);
}

#[test]
fn what_writes_is_in_sight_before_the_evidence_is_looked_at() {
    if let Some(number) = std::env::args().find_map(|word| word.strip_prefix(WORD)?.parse().ok()) {
        return tried(DaemonSide::inherit(number).expect("the memory of the parent"));
    }
    let guard = GuardSide::create().expect("shared memory");
    let ten = Duration::from_secs(10);
    let request = WatchdogRequest::new("/dev/watchdog0", ten, ten).expect("a short path");
    guard.set_watchdog_armed(&request, ten, false);
    let name = "what_writes_is_in_sight_before_the_evidence_is_looked_at";
    let name = format!("{}::{name}", module_path!().split_once("::").expect("a crate").1);
    let open = rustix::io::FdFlags::empty();
    rustix::io::fcntl_setfd(guard.descriptor(), open).expect("it is handed on");
    rustix::io::fcntl_setfd(guard.bell(), open).expect("it is handed on");
    let mut child = std::process::Command::new(std::env::current_exe().expect("this test"));
    let child = child.args([&name, "--exact", "--nocapture"]);
    let child = child.arg(format!("{WORD}{}", guard.number())).output().expect("a process");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}\n{child:?}");
}

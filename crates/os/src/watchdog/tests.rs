//! Errors with real files, and what the kernel shows, from a directory made like its own. Real watchdogs
//! reset the machine that runs the tests: they are tried in virtual machines.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use super::*;

/// `WDIOF_KEEPALIVEPING`, which all have.
const KEEP_ALIVE: u32 = 0x8000;

fn arm(path: &Path) -> WatchdogError {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let ten = Duration::from_secs(10);
    Watchdog::arm(&path, ten, Duration::ZERO).expect_err("this is no watchdog").error
}

#[test]
fn what_is_no_watchdog_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let absent = arm(&directory.path().join("watchdog0"));
    assert_eq!(absent, WatchdogError { step: Step::Find, errno: libc::ENOENT });
    assert!(absent.to_string().contains("softdog"), "{absent}");

    let plain = directory.path().join("file");
    fs::write(&plain, "").unwrap();
    assert_eq!(arm(&plain).step, Step::Find);
    assert_eq!(fs::read(&plain).unwrap(), b"", "nothing is written to what is no device");

    let other = arm(Path::new("/dev/null"));
    assert_eq!(other, WatchdogError { step: Step::Ask, errno: libc::ENOTTY });
    assert!(other.to_string().contains("no watchdog"), "{other}");
    assert_eq!(describe(Path::new("/dev/null")), Err(WatchdogError::plain(Step::Find)));
}

#[test]
fn every_refusal_is_a_sentence() {
    for step in Step::ALL {
        for errno in [0, libc::EBUSY, libc::EINVAL, libc::EPERM, libc::EIO, libc::ENODEV] {
            let text = WatchdogError { step, errno }.to_string();
            assert!(text.len() > 20, "{step:?} {errno}: {text}");
        }
    }
    let busy = WatchdogError { step: Step::Open, errno: libc::EBUSY }.to_string();
    assert!(busy.contains("RuntimeWatchdogSec"), "{busy}");
}

#[test]
fn the_kernel_shows_a_device_under_either_name() {
    let sys = tempfile::tempdir().unwrap();
    for (name, numbers, identity) in
        [("watchdog0", "247:0", "Software Watchdog"), ("watchdog1", "247:1", "iTCO_wdt")]
    {
        let directory = sys.path().join("class/watchdog").join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("dev"), format!("{numbers}\n")).unwrap();
        fs::write(directory.join("identity"), format!("{identity}\n")).unwrap();
        fs::write(directory.join("state"), "inactive\n").unwrap();
        fs::write(directory.join("nowayout"), "0\n").unwrap();
        fs::write(directory.join("timeout"), "60\n").unwrap();
    }
    let first = read(&shown(sys.path(), 10, 130).unwrap());
    assert_eq!(first, read(&shown(sys.path(), 247, 0).unwrap()));
    assert_eq!(first.name, "watchdog0");
    assert_eq!(first.timeout, Some(Duration::from_secs(60)));
    assert_eq!((first.active, first.nowayout), (Some(false), Some(false)));
    assert_eq!((first.limits, first.options), (None, None), "an older kernel");

    let second = shown(sys.path(), 247, 1).unwrap();
    fs::write(second.join("state"), "active\n").unwrap();
    fs::write(second.join("min_timeout"), "2\n").unwrap();
    fs::write(second.join("max_timeout"), "613\n").unwrap();
    fs::write(second.join("options"), "0x8180\n").unwrap();
    let second = read(&second);
    assert_eq!(second.identity.as_deref(), Some("iTCO_wdt"));
    assert_eq!(second.active, Some(true));
    assert_eq!(second.limits, Some((Duration::from_secs(2), Duration::from_secs(613))));
    assert_eq!(second.options, Some(0x8180));
    assert_eq!(shown(sys.path(), 247, 2), None);
}

#[test]
fn what_is_of_no_use_is_seen_before_it_is_opened() {
    let seconds = Duration::from_secs;
    let good = Description {
        nowayout: Some(true),
        limits: Some((seconds(2), seconds(60))),
        options: Some(KEEP_ALIVE | SET_TIMEOUT | MAGIC_CLOSE),
        ..Description::default()
    };
    let refused = |description: &Description, wanted| description.check(wanted).map_err(|e| e.step);
    for wanted in [2, 10, 60] {
        assert_eq!(good.check(seconds(wanted)), Ok(()));
    }
    for wanted in [1, 61] {
        assert_eq!(refused(&good, seconds(wanted)), Err(Step::Timeout), "{wanted} s");
    }
    let unlimited = Description { limits: Some((seconds(1), seconds(0))), ..good.clone() };
    assert_eq!(unlimited.check(seconds(100_000)), Ok(()));

    for (options, step) in [
        (KEEP_ALIVE | MAGIC_CLOSE, Step::FixedTimeout),
        (KEEP_ALIVE | SET_TIMEOUT, Step::StopsWhenClosed),
        (KEEP_ALIVE | SET_TIMEOUT | MAGIC_CLOSE | ALARM_ONLY, Step::AlarmOnly),
    ] {
        let device = Description { options: Some(options), nowayout: Some(false), ..good.clone() };
        assert_eq!(refused(&device, seconds(10)), Err(step));
    }

    // An older kernel does not show all of that: then only what can be stopped again is tried.
    for unknown in
        [Description { limits: None, ..good.clone() }, Description { options: None, ..good }]
    {
        assert_eq!(refused(&unknown, seconds(10)), Err(Step::NeverStops));
        for nowayout in [Some(false), None] {
            let stops = Description { nowayout, ..unknown.clone() };
            assert_eq!(stops.check(seconds(10)), Ok(()));
        }
    }
}

#[test]
fn who_has_a_device_open_is_found() {
    let open = fs::File::open("/dev/full").unwrap();
    let own = std::process::id();
    assert!(
        holders(Path::new("/dev/full")).iter().any(|(pid, name)| *pid == own && !name.is_empty())
    );
    drop(open);
    assert!(!holders(Path::new("/dev/full")).iter().any(|(pid, _)| *pid == own));
}

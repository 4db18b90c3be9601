//! What people see.

use expect_test::expect;

use super::*;

fn armed() -> Watchdog {
    Watchdog {
        schema: 1,
        node: "n1".into(),
        state: WatchdogState::Armed,
        device: Some("/dev/watchdog0".into()),
        timeout_ms: Some(10_000),
        freshness_ms: 1_200,
        fence_wait_ms: Some(11_332),
        storage: true,
        fed: true,
        reason: "evidence is fresh".into(),
        fed_ms: Some(840),
        evidence_ms: Some(210),
        ..Watchdog::default()
    }
}

#[test]
fn an_armed_watchdog_says_why_it_is_fed() {
    expect![[r#"
        /dev/watchdog0 resets n1 10 s after it was fed for the last time

        fed       yes: evidence is fresh
        last fed  840 ms ago
        evidence  210 ms old; beside a storage service it is fed while that is 1.2 s at most
        others    count this machine as reset 11 s after they heard it last
    "#]]
    .assert_eq(&watchdog(&armed(), Style::PLAIN));
    let stale = Watchdog {
        fed: false,
        reason: "evidence is too old".into(),
        late: 1,
        adopted: true,
        evidence_ms: None,
        ..armed()
    };
    expect![[r#"
        /dev/watchdog0 resets n1 10 s after it was fed for the last time

        fed       NO: evidence is too old
        last fed  840 ms ago
        evidence  none; beside a storage service it is fed while that is 1.2 s at most
        others    count this machine as reset 11 s after they heard it last
        late      1 feedings came through too late, and were made shorter
        it was armed by a former guard, which was killed
    "#]]
    .assert_eq(&watchdog(&stale, Style::PLAIN));
}

#[test]
fn one_that_is_not_armed_says_why() {
    let of = |state, reason: &str| {
        let shown = Watchdog { state, reason: reason.into(), ..armed() };
        watchdog(&shown, Style::PLAIN)
    };
    expect![[r#"
        /dev/watchdog0 of n1 is not armed, because no storage service has been started here yet
        timeout   10 s will be asked for
    "#]]
    .assert_eq(&of(WatchdogState::Ready, ""));
    expect![[r#"
        /dev/watchdog0 of n1 could not be armed: somebody else has it open
    "#]]
    .assert_eq(&of(WatchdogState::Failed, "somebody else has it open"));
    assert!(of(WatchdogState::None, "").starts_with("no watchdog is configured for n1"));
}

#[test]
fn a_test_shows_what_the_device_said() {
    let test = WatchdogTest {
        schema: 1,
        device: "/dev/watchdog0".into(),
        name: Some("watchdog0".into()),
        identity: Some("Software Watchdog".into()),
        active: Some(false),
        nowayout: Some(false),
        least_ms: Some(1_000),
        most_ms: Some(65_535_000),
        holders: Vec::new(),
        timeout_ms: Some(10_000),
        feedings: vec![WatchdogFeeding {
            before_ms: Some(9_000),
            after_ms: Some(10_000),
            took_us: 12,
        }],
        stopped: true,
        trouble: Vec::new(),
    };
    expect![[r#"
        /dev/watchdog0: Software Watchdog (watchdog0)
        timeouts  1.0 s to 18 h 12 min
        stops     when it is told to
        armed     with a timeout of 10 s
        fed       time left 9.0 s before, 10 s after; the driver took 12 us
        stopped   this machine is not reset
        it obeys; whether it resets this machine only `--reset` shows
    "#]]
    .assert_eq(&watchdog_test(&test, Style::PLAIN));
    let busy = WatchdogTest {
        device: "/dev/watchdog".into(),
        holders: vec![WatchdogHolder { process: 1, name: "systemd".into() }],
        trouble: vec!["somebody else has it open".into()],
        ..WatchdogTest::default()
    };
    expect![[r#"
        /dev/watchdog
        open in   process 1, systemd
        trouble   somebody else has it open
    "#]]
    .assert_eq(&watchdog_test(&busy, Style::PLAIN));
}

//! Judgement of traces made by hand.

use std::time::Duration;

use super::*;
use crate::trace::Trace;

/// A probe every 5 ms; `who` names the responder of each, or nobody.
fn seen(probes: u64, who: impl Fn(u64) -> Option<(&'static str, u32)>) -> Trace {
    let mut trace = Trace::default();
    for number in 0..probes {
        trace.note_sent(Duration::from_millis(number * 5), true);
        if let Some((name, pid)) = who(number) {
            trace.note_answer(number, name, pid, Duration::from_millis(number * 5 + 1));
        }
    }
    trace
}

fn judge(scenario: Scenario, trace: &Trace) -> Figure {
    let seen = Seen { answers: trace.clone(), owners: trace.clone() };
    Figure::judge(scenario, "n1".to_owned(), &seen.into(), Limits::of("fast"))
}

#[test]
fn a_second_owner_that_only_arp_sees_is_not_good() {
    let answers = seen(100, |n| Some(if n < 50 { ("n1", 4) } else { ("n2", 9) }));
    let owners = seen(100, |n| Some(if n < 50 || n % 2 == 0 { ("n1", 0) } else { ("n2", 0) }));
    let seen = Played::from(Seen { answers, owners });
    let figure = Figure::judge(Scenario::PowerOff, "n1".to_owned(), &seen, Limits::of("fast"));
    assert_eq!(figure.failures.len(), 1, "{figure:?}");
    assert!(figure.sentence().contains("two nodes had the address for 235 ms"), "{figure:?}");
    let stopped =
        Figure::judge(Scenario::StopDaemonAndGuard, "n1".to_owned(), &seen, Limits::of("fast"));
    assert!(stopped.is_good(), "{stopped:?}");
    let gated = Played { must_close: true, ..seen };
    let figure =
        Figure::judge(Scenario::StopDaemonAndGuard, "n1".to_owned(), &gated, Limits::of("fast"));
    assert_eq!(figure.failures.len(), 1, "{figure:?}");
}

#[test]
fn a_takeover_in_time_is_good() {
    let trace = seen(400, |n| match n {
        0..100 => Some(("n1", 4)),
        100..300 => None,
        _ => Some(("n2", 9)),
    });
    let figure = judge(Scenario::CutAllNetworks, &trace);
    assert_eq!(figure.failures, Vec::<String>::new());
    assert_eq!(figure.outage_milliseconds, Some(1005.0));
    assert!(figure.sentence().contains("n1 -> n2, outage 1005 ms"));
    // The same as a wished move is ten times too slow.
    assert_eq!(judge(Scenario::Move, &trace).failures.len(), 1);
}

#[test]
fn a_second_owner_is_never_good() {
    let trace = seen(100, |n| Some(if n < 50 || n == 70 { ("n1", 4) } else { ("n2", 9) }));
    let figure = judge(Scenario::PowerOff, &trace);
    assert!(figure.failures.iter().any(|text| text.contains("second owner")), "{figure:?}");
    // With the guard stopped too it is a figure, not a failure.
    let stopped = judge(Scenario::StopDaemonAndGuard, &trace);
    assert_eq!((stopped.failures.len(), stopped.verdict.late_answers), (0, 1));
}

#[test]
fn nothing_may_move_or_restart_or_be_lost_when_the_daemon_dies() {
    assert!(judge(Scenario::KillDaemon, &seen(100, |_| Some(("n1", 4)))).is_good());
    let restarted = seen(100, |n| Some(("n1", if n < 50 { 4 } else { 5 })));
    assert!(!judge(Scenario::KillDaemon, &restarted).is_good());
    let lossy = seen(100, |n| (n != 50).then_some(("n1", 4)));
    assert!(!judge(Scenario::KillDaemon, &lossy).is_good());
    let moved = seen(100, |n| Some(if n < 50 { ("n1", 4) } else { ("n2", 5) }));
    assert!(!judge(Scenario::CutOneNetwork, &moved).is_good());
}

#[test]
fn nobody_at_the_end_is_not_good() {
    let trace = seen(100, |n| (n < 50).then_some(("n1", 4)));
    let figure = judge(Scenario::PowerOff, &trace);
    assert!(figure.failures.iter().any(|text| text.contains("nobody")), "{figure:?}");
}

#[test]
fn what_is_lost_while_the_client_is_cut_off_is_excused() {
    let trace = seen(100, |n| (!(40..60).contains(&n)).then_some(("n1", 4)));
    let mut played = Played::from(Seen { answers: trace.clone(), owners: trace });
    let judge = |played: &Played| {
        Figure::judge(Scenario::DiskOnly, "n1".to_owned(), played, Limits::of("fast")).failures
    };
    assert_eq!(judge(&played), ["20 probes had no answer"]);
    played.excused.push((Duration::from_millis(200), Duration::from_millis(246)));
    assert_eq!(judge(&played), ["10 probes had no answer, the first 4 ms after a change"]);
    played.excused.push((Duration::from_millis(250), Duration::from_millis(296)));
    assert_eq!(judge(&played), Vec::<String>::new());
    played.complaints.push("a view changed".to_owned());
    assert_eq!(judge(&played), ["a view changed"]);
}

#[test]
fn spread() {
    let figure = |outage: u64| {
        let mut figure = judge(Scenario::Move, &seen(2, |_| Some(("n1", 4))));
        figure.outage_milliseconds = Some(outage as f64);
        figure
    };
    let figures: Vec<Figure> = [30, 10, 20, 50].into_iter().map(figure).collect();
    let expected = Spread { median: 25.0, least: 10.0, most: 50.0 };
    assert_eq!(outages(&figures), Some(expected));
    assert_eq!(outages(&figures[..0]), None);
}

#[test]
fn names_lead_back() {
    assert!(Scenario::ALL.iter().all(|s| Scenario::named(s.name()) == Some(*s)));
}

#[test]
fn a_gate_that_could_be_there_and_is_not_is_not_good() {
    let told = |kind: Option<&str>, is_possible| {
        let mut played =
            Played::from(Seen { answers: seen(1, |_| None), owners: seen(1, |_| None) });
        let kind = kind.map(str::to_owned);
        gate::Gate { kind, is_possible }.tell("n1", &mut played);
        (played.must_close, played.complaints.len(), played.notes[0].starts_with("SKIPPED: "))
    };
    assert_eq!(told(Some("nftables"), true), (true, 0, false));
    assert_eq!(told(Some("kernel"), false), (true, 0, false));
    assert_eq!(told(None, true), (true, 1, false));
    assert_eq!(told(None, false), (false, 0, true));
}

#[test]
fn two_stations_with_one_hardware_address_are_not_good() {
    let answers = seen(100, |n| Some(if n < 50 { ("n1", 4) } else { ("n2", 9) }));
    let mut owners = seen(100, |_| Some(("02:00:0a:4d:00:64", 0)));
    let failures = |owners: &Trace| {
        let played = Played::from(Seen { answers: answers.clone(), owners: owners.clone() });
        let limits = Limits::of("fast");
        Figure::judge(Scenario::HardwareAddress, "n1".to_owned(), &played, limits).failures
    };
    assert_eq!(failures(&owners), Vec::<String>::new());
    owners.note_answer(60, "02:00:0a:4d:00:64", 0, Duration::from_millis(301));
    assert_eq!(failures(&owners), ["1 ARP requests were answered by two stations"]);
}

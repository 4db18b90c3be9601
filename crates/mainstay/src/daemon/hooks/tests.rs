use std::time::Duration;

use super::*;

fn hook(name: &str, command: &[&str]) -> Hook {
    Hook {
        name: name.into(),
        events: vec![EventKind::NetworkUp],
        when: When::After,
        networks: Vec::new(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        timeout: Duration::from_secs(60),
    }
}

fn at(hook: &Hook, number: usize) -> Run {
    Run { hook: hook.clone(), environment: Vec::new(), occasion: format!("after event {number}") }
}

struct Desk {
    hooks: Hooks,
    reports: event::Receiver<Done>,
    directory: tempfile::TempDir,
}

impl Desk {
    fn new(hooks: &[Hook]) -> Desk {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = os::cgroup::tree_name("desk", "n1", directory.path()).expect("a name");
        let (done, reports) = event::queue(100).expect("a queue");
        let mut desk = Desk { hooks: Hooks::new(&tree, done), reports, directory };
        desk.hooks.configure(hooks).expect("a thread");
        desk
    }

    fn report(&self) -> Report {
        loop {
            match self.reports.wait().expect("somebody reports") {
                Done::Hook(report) => return report,
                Done::Trouble(trouble) => panic!("{trouble}"),
                _ => {}
            }
        }
    }
}

#[test]
fn a_hook_sees_events_in_order_and_what_does_not_fit_is_said() {
    let gate = tempfile::tempdir().expect("a directory");
    let file = gate.path().join("go");
    let wait = format!("until test -e {}; do sleep 0.01; done", file.display());
    let busy = hook("busy", &["/bin/sh", "-c", &wait]);
    let mut desk = Desk::new(std::slice::from_ref(&busy));
    for number in 0..WAITING_MAX {
        assert_eq!(desk.hooks.hand_over(at(&busy, number)), Ok(()));
    }
    let said = desk.hooks.hand_over(at(&busy, 97)).expect_err("it is full");
    assert_eq!(
        said,
        "hook busy after event 97: left out, and so is what follows: it is busy, and 15 events wait for it"
    );
    assert_eq!(desk.hooks.hand_over(at(&busy, 98)), Ok(()), "said once");
    std::fs::write(&file, "").expect("it can be written");
    for number in 0..WAITING_MAX {
        let report = desk.report();
        assert_eq!(report.occasion, format!("after event {number}"));
        assert!(report.ended.is_good(), "{report:?}");
        let said = desk.hooks.note(&report, true);
        let expected = "hook busy: 2 events were left out meanwhile".to_owned();
        assert_eq!(said, (number == 0).then_some(expected));
    }
    assert_eq!(desk.hooks.hand_over(at(&busy, 99)), Ok(()), "there is room again");
    assert_eq!(desk.report().occasion, "after event 99");
    assert_eq!((desk.hooks.counts.good, desk.hooks.counts.left_out), (16, 2));
    assert_eq!(desk.hooks.end(), (1, true), "one was not taken note of");
}

/// One hook that hangs holds up no other one.
#[test]
fn hooks_do_not_wait_for_each_other() {
    let (hangs, tells) = (hook("hangs", &["/bin/sleep", "1000"]), hook("tells", &["/bin/true"]));
    let mut desk = Desk::new(&[hangs.clone(), tells.clone()]);
    desk.hooks.hand_over(at(&hangs, 1)).expect("there is room");
    desk.hooks.hand_over(at(&tells, 1)).expect("there is room");
    let report = desk.report();
    assert_eq!((report.hook.as_str(), report.ended.is_good()), ("tells", true));
    desk.hooks.note(&report, true);
    assert_eq!(desk.hooks.end(), (1, true));
    let tree = os::cgroup::tree_name("desk", "n1", desk.directory.path()).expect("a name");
    let left = os::process::Containment::open(&format!("{tree}-hooks"));
    assert!(left.nothing_left().expect("it can be seen"));
    left.dissolve().expect("nothing lives there");
}

#[test]
fn a_failure_is_remembered_until_the_hook_succeeds_or_is_gone() {
    let script = hook("tell", &["/bin/sh", "-c", "echo no paper; exit 7"]);
    let mut desk = Desk::new(std::slice::from_ref(&script));
    desk.hooks.hand_over(at(&script, 1)).expect("there is room");
    let failed = desk.report();
    desk.hooks.note(&failed, true);
    let remembered = desk.hooks.failing["tell"].clone();
    assert!(remembered.starts_with("after event 1: exit 7 after "), "{remembered}");
    assert!(remembered.ends_with(" ms: no paper"), "{remembered}");
    desk.hooks.hand_over(at(&hook("tell", &["/bin/true"]), 2)).expect("there is room");
    let good = desk.report();
    desk.hooks.note(&good, true);
    assert!(desk.hooks.failing.is_empty());
    // It fails once more, and is taken out of the configuration.
    desk.hooks.hand_over(at(&script, 3)).expect("there is room");
    let failed = desk.report();
    desk.hooks.note(&failed, true);
    desk.hooks.configure(&[]).expect("nothing to be prepared");
    assert!(desk.hooks.failing.is_empty() && desk.hooks.lanes.is_empty());
    // What was under way for it is no news either.
    desk.hooks.hand_over(at(&script, 4)).expect("there is room");
    let failed = desk.report();
    desk.hooks.note(&failed, false);
    assert!(desk.hooks.failing.is_empty() && desk.hooks.lanes.is_empty());
    assert_eq!(desk.hooks.end(), (0, true));
}

#[test]
fn hooks_before_a_switch_run_one_after_the_other() {
    let names = ["first", "second"];
    let hooks = names.map(|name| hook(name, &["/bin/sh", "-c", "exit 1"]));
    let mut desk = Desk::new(&hooks);
    let called_off = Arc::new(AtomicBool::new(false));
    let runs = || hooks.iter().map(|hook| at(hook, 1)).collect();
    desk.hooks.start_before(7, runs(), called_off.clone()).expect("a thread");
    for name in names {
        let report = desk.report();
        assert_eq!((report.hook.as_str(), report.is_lane), (name, false));
        assert!(!report.ended.is_good(), "and the next one runs all the same");
    }
    let over = desk.reports.wait();
    assert!(matches!(over, Some(Done::HooksOver { operation: 7 })), "{over:?}");

    // What was called off does not begin.
    called_off.store(true, Ordering::Release);
    desk.hooks.start_before(8, runs(), called_off).expect("a thread");
    assert_eq!(desk.hooks.end(), (0, true));
    let left = std::iter::from_fn(|| desk.reports.take()).count();
    assert_eq!(left, 0);
}

#[test]
fn an_event_tells_what_it_is_about() {
    let text = "[cluster]\nname = \"demo\"\nid = 10\ntie = \"manual\"\n\
                [[node]]\nname = \"n1\"\nid = 1\n[[node]]\nname = \"n2\"\nid = 2\n\
                [[network]]\nname = \"net0\"\nnodes = { n1 = \"10.1.0.1/24\", n2 = \"10.1.0.2/24\" }\n";
    let cluster = crate::config::parse(text, "cluster.toml", 1).expect("it is usable").0;
    let told = |kind, about| {
        let event = Event { kind, node: None, sentence: "a sentence".into(), about };
        let told = Told::of(&event, &cluster).variables.into_iter();
        let told = told.filter(|(name, _)| *name != "MAINSTAY_TEXT");
        told.map(|(name, value)| format!("{}={value}", &name["MAINSTAY_".len()..])).collect()
    };
    let swap = node::About {
        from: Some("eth0".into()),
        to: Some("eth1".into()),
        addresses: vec![[10, 1, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
        why: Some("has no carrier".into()),
        failure: Some("eth1 is gone".into()),
        ..node::About::default()
    };
    let said: Vec<String> = told(EventKind::SwapAdapter, swap);
    assert_eq!(
        said,
        [
            "INTERFACE=eth0",
            "TO_INTERFACE=eth1",
            "ADDRESSES=10.1.0.1 ::1",
            "REASON=has no carrier",
            "RESULT=failed",
            "FAILURE=eth1 is gone"
        ]
    );
    let alone = node::About { nodes: vec![base::NodeId(1), base::NodeId(2)], ..Default::default() };
    let said: Vec<String> = told(EventKind::NetworkDown, alone);
    assert_eq!(said, ["SCOPE=local", "NODES=n1 n2"]);
    let said: Vec<String> = told(EventKind::NetworkDown, node::About::default());
    assert_eq!(said, ["SCOPE=global"]);
    let standby = node::About { interface: Some("eth1".into()), ..Default::default() };
    let said: Vec<String> = told(EventKind::JoinStandby, standby);
    assert_eq!(said, ["INTERFACE=eth1"]);
}

//! Each rest with its remedy, from configurations and answers.

use super::*;

const CONFIG: &str = r#"
[cluster]
name = "demo"
id = 10
detection = "fast"
[[node]]
name = "n1"
id = 1
[[node]]
name = "n2"
id = 2
[[network]]
name = "net0"
nodes = { n1 = "10.77.0.1/24", n2 = "10.77.0.2/24" }
[[service]]
name = "db"
nodes = ["n1", "n2"]
class = "storage"
[[service.resource]]
name = "server"
kind = "process"
command = ["/bin/db"]
"#;

fn of(config: &str, change: impl FnOnce(&mut v1::Fencing, &mut v1::Gate)) -> Vec<Rest> {
    let parsed = crate::config::parse(config, "cluster.toml", 1);
    let (cluster, _) = parsed.unwrap_or_else(|found| panic!("{}", found.render(false)));
    let mut fencing = v1::Fencing::default();
    let mut gate = v1::Gate { node: "n1".to_owned(), ..v1::Gate::default() };
    gate.kind = v1::GateKind::Kernel;
    change(&mut fencing, &mut gate);
    let watchdog = v1::Watchdog::default();
    let said = Said {
        tie_trouble: None,
        fencing: &fencing,
        gate: &gate,
        watchdog: &watchdog,
        weaknesses: &[],
        is_virtual: false,
    };
    risks(&cluster, said).rests
}

fn mends(rests: &[Rest]) -> Vec<(&str, &str)> {
    let weak = rests.iter().filter(|rest| rest.remedy.is_some());
    weak.map(|rest| (rest.what.as_str(), rest.on.split([':', '(']).next().unwrap_or(""))).collect()
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let rests = of(CONFIG, |_, _| {});
    assert_eq!(
        mends(&rests),
        [
            ("cluster", "nobody breaks a tie"),
            ("cluster", "one network"),
            ("node n1", "nobody can turn its machine off"),
            ("node n1", "no watchdog"),
            ("node n2", "nobody can turn its machine off"),
            ("node n2", "no watchdog"),
            ("service db", "class storage"),
        ]
    );
}

#[test]
fn a_proof_counts_while_it_is_young() {
    let fences =
        ["n1", "n2"].map(|node| format!("[[fence]]\nnode = \"{node}\"\nagent = \"fence_x\"\n"));
    let config = format!("{CONFIG}{}", fences.concat());
    let checked = |age_ms, ok| {
        move |fencing: &mut v1::Fencing, _: &mut v1::Gate| {
            let verified = Some(v1::FenceVerified { age_ms, ok, ..v1::FenceVerified::default() });
            let node = "n1".to_owned();
            fencing.nodes = vec![v1::FenceNode { node, verified, ..v1::FenceNode::default() }];
        }
    };
    let about_n1 = |rests: Vec<Rest>| {
        let mut found = rests.into_iter().filter(|rest| rest.what == "node n1");
        found.find(|rest| rest.on.contains("fence agents")).expect("it has some")
    };
    let young = about_n1(of(&config, checked(3 * DAY_MS, true)));
    assert_eq!((young.on.as_str(), young.remedy), ("fence agents that answered 3 days ago", None));
    assert!(about_n1(of(&config, checked(91 * DAY_MS, true))).remedy.is_some());
    assert!(about_n1(of(&config, checked(0, false))).on.contains("failed"));
    assert!(about_n1(of(&config, |_, _| {})).on.contains("never tried"));
    let rests = of(&config, |_, _| {});
    let service = rests.iter().find(|rest| rest.what == "service db").expect("it is one");
    assert_eq!(service.remedy, None, "somebody can turn each of its machines off");
}

#[test]
fn a_gate_that_is_not_the_first_is_a_risk() {
    let of_gate = |before: &[&str]| {
        let rests = of(CONFIG, |_, gate| {
            let before = before.iter().map(|&one| one.to_owned()).collect();
            let state = v1::GateAttachment::Both;
            gate.interfaces = vec![v1::GateInterface { name: "eth0".to_owned(), state, before }];
        });
        rests.into_iter().find(|rest| rest.on.starts_with("the kernel closes")).expect("it does")
    };
    assert_eq!(of_gate(&[]).remedy, None);
    let weak = of_gate(&["in: tcx program cil_from"]);
    assert!(weak.on.ends_with("eth0 (in: tcx program cil_from)") && weak.remedy.is_some());
}

#[test]
fn a_node_without_a_gate_says_why() {
    let rests = of(CONFIG, |_, gate| {
        gate.kind = v1::GateKind::None;
        gate.reason = Some("no right to load programs".to_owned());
    });
    let gate = rests.iter().find(|rest| rest.on.starts_with("no lease gate")).expect("it is weak");
    assert!(gate.on.contains("no right to load programs") && gate.remedy.is_some());
}

#[test]
fn a_gate_of_nftables_is_named_with_what_it_lacks() {
    let rests = of(CONFIG, |_, gate| {
        gate.kind = v1::GateKind::Nftables;
        gate.reason = Some("no right to load programs".to_owned());
    });
    let gate = rests.iter().find(|rest| rest.on.starts_with("nftables")).expect("it is said");
    assert!(gate.on.contains("no right to load programs") && gate.on.contains("suspend"));
    assert!(gate.remedy.is_some());
}

#[test]
fn a_guard_without_control_groups_says_that_killing_rests_on_proc() {
    let parsed = crate::config::parse(CONFIG, "cluster.toml", 1);
    let (cluster, _) = parsed.unwrap_or_else(|found| panic!("{}", found.render(false)));
    let (fencing, gate) = (v1::Fencing::default(), v1::Gate::default());
    let promises = os::shared::Promises {
        contained: Err(1),
        real_time: Ok(()),
        locked: Ok(()),
        gated: os::shared::Gated::Nothing { programs: 1, sets: 1 },
    };
    let weaknesses = promises.weaknesses();
    assert_eq!(weaknesses.len(), 2);
    let said = Said {
        tie_trouble: None,
        fencing: &fencing,
        gate: &gate,
        watchdog: &v1::Watchdog::default(),
        weaknesses: &weaknesses,
        is_virtual: false,
    };
    let rests = risks(&cluster, said).rests;
    let mut of_guard = rests.iter().filter(|rest| rest.on.starts_with("a guard that is weaker"));
    let rest = of_guard.next().expect("it is named");
    assert!(rest.on.contains("killing rests on /proc") && rest.remedy.is_some(), "{rest:?}");
    assert_eq!(of_guard.next(), None, "the gate has a line of its own");
}

use std::collections::BTreeMap;

use api::v1::{self, *};
use expect_test::{Expect, expect};

use super::{Paths, Style, duration, missing_half, paths};
use crate::config;

/// Five nodes, two networks and ten services: what has to fit on a screen.
fn large() -> Status {
    let node = |id: u8| Node {
        name: format!("n{id}"),
        id,
        state: NodeState::Member,
        age_ms: Some(if id == 1 { 0 } else { 40 }),
        incarnation: Some(1_700_000_000_000 + u64::from(id)),
        online: true,
        ..Node::default()
    };
    let path = |(id, network): (u8, u8)| Path {
        peer: format!("n{id}"),
        network: format!("net{network}"),
        kind: "udp".into(),
        local: format!("10.7{network}.0.1:7420"),
        remote: format!("10.7{network}.0.{id}:7420"),
        rank: None,
        priority: Priority::High,
        state: PathState::Alive,
        direction: None,
        rtt_us: Some(312),
        loss: 0.0,
        rtt_min_avg_max_us: None,
        loss_out: None,
        jitter_us: None,
        age_ms: Some(20),
        echoes_wanted: None,
        damped_ms: None,
        peer_has_half: None,
    };
    let service = |id: u8| Service {
        name: format!("service-{id}"),
        state: ServiceState::Running,
        node: Some(format!("n{}", id % 5 + 1)),
        since_ms: Some(u64::from(id) * 65_000),
        mode: (1..=5).map(|node| (format!("n{node}"), ServiceMode::Automatic)).collect(),
        nodes: (1..=5).map(|node| format!("n{node}")).collect(),
        age_ms: Some(0),
        ..Service::default()
    };
    Status {
        schema: 1,
        verdict: Verdict::Ok,
        reasons: Vec::new(),
        cluster: Cluster {
            name: "demo".into(),
            id: 10,
            config_version: 3,
            config_checksum: "00112233445566aa".into(),
            config_mismatch: false,
            detection: "fast".into(),
        },
        node: LocalNode {
            name: "n1".into(),
            id: 1,
            state: NodeState::Member,
            incarnation: 1_700_000_000_001,
            uptime_ms: 3_600_000,
            version: "0.1.0".into(),
            gate: GateKind::Kernel,
        },
        leaving: None,
        view: View {
            generation: 7,
            lineage: "0badcafe".into(),
            hub: Some("n2".into()),
            members: (1..=5).map(|id| format!("n{id}")).collect(),
            waiting: None,
            primary: true,
            lease_ms: Some(710),
            since_ms: Some(200_000),
            tie_breaker: Some("witness 10.0.0.9:7402".into()),
        },
        nodes: (1..=5).map(node).collect(),
        paths: (2..=5).flat_map(|id| [(id, 0), (id, 1)]).map(path).collect(),
        services: (0..10).map(service).collect(),
        addresses: Vec::new(),
        warnings: Vec::new(),
        health: Health::default(),
        counters: Vec::new(),
    }
}

fn check(actual: &str, expected: Expect) {
    expected.assert_eq(actual);
}

#[test]
fn a_healthy_cluster_fits_on_a_screen() {
    let text = super::status(&large(), Style { colour: false, width: 80 });
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    check(
        &text,
        expect![[r#"
            OK        demo: 5 of 5 nodes, 10 of 10 services run, seen from n1
                      view 7 since 3 min, hub n2, lease 710 ms; configuration 3, fast

            NODE  STATE   HEARD      net0    net1
            n1    member  here
            n2    hub     40 ms ago  0.3 ms  0.3 ms
            n3    member  40 ms ago  0.3 ms  0.3 ms
            n4    member  40 ms ago  0.3 ms  0.3 ms
            n5    member  40 ms ago  0.3 ms  0.3 ms

            SERVICE    STATE    NODE  SINCE
            service-0  running  n1    0 ms
            service-1  running  n2    65 s
            service-2  running  n3    2 min
            service-3  running  n4    3 min
            service-4  running  n5    4 min
            service-5  running  n1    5 min
            service-6  running  n2    6 min
            service-7  running  n3    7 min
            service-8  running  n4    8 min
            service-9  running  n5    9 min
        "#]],
    );
}

/// A lost node, a cut cable, a service that moved, one that is broken, a guard that is missing.
#[test]
fn trouble_is_said_where_it_is() {
    let mut status = large();
    status.verdict = Verdict::Down;
    status.reasons = vec![
        "service-1 is broken on n3: its stop failed".into(),
        "n5 is lost: its services may start elsewhere in 0.6 s".into(),
    ];
    status.view.members.pop();
    status.nodes[4] = Node {
        state: NodeState::Lost,
        age_ms: Some(320),
        fence_wait_ms: Some(560),
        ..status.nodes[4].clone()
    };
    status.nodes[3].online = false;
    status.nodes[2].jeopardy = true;
    for path in &mut status.paths {
        match (path.peer.as_str(), path.network.as_str()) {
            ("n5", _) => (path.state, path.rtt_us) = (PathState::Dead, None),
            ("n3", "net1") => {
                (path.state, path.direction) = (PathState::Dead, Some(Direction::NotHearingUs));
            }
            ("n2", "net1") => path.loss = 0.125,
            ("n4", "net0") => (path.state, path.direction) = (PathState::Trouble, None),
            _ => {}
        }
    }
    let services = &mut status.services;
    services.truncate(4);
    services[0].state = ServiceState::Starting;
    services[0].reason = Some("restarted after its process ended with code 1".into());
    services[1].state = ServiceState::BrokenUnsafe;
    services[1].blocked =
        BTreeMap::from([("n3".to_owned(), "failed 3 times within 10 minutes".to_owned())]);
    services[2].state = ServiceState::Stopped;
    services[2].node = None;
    services[2].mode.values_mut().for_each(|mode| *mode = ServiceMode::Manual);
    services[3].mode.insert("n2".into(), ServiceMode::Manual);
    status.health.guard = Some("it is gone: services stop when this daemon does".into());
    status.counters = vec![Counter {
        name: "wrong_cluster".into(),
        value: 12,
        text: "datagrams of another cluster (id 11) came in on net0".into(),
    }];
    let expected = "fragments came twice, as they do";
    status.counters.push(Counter { name: "surplus".into(), value: 5, text: expected.into() });
    status.warnings = vec![Warning {
        code: "no-tie-breaker".into(),
        text: "four nodes are left and no tie-breaker is configured".into(),
        help: None,
    }];
    check(
        &super::status(&status, Style { colour: false, width: 100 }),
        expect![[r#"
            DOWN      demo: 4 of 5 nodes, 1 of 4 services run, seen from n1
                      view 7 since 3 min, hub n2, lease 710 ms; configuration 3, fast
                      service-1 is broken on n3: its stop failed
                      n5 is lost: its services may start elsewhere in 0.6 s

            NODE  STATE   HEARD       net0     net1                  NOTE
            n1    member  here
            n2    hub     40 ms ago   0.3 ms   0.3 ms 12.5% lost
            n3    member  40 ms ago   0.3 ms   dead, not hearing us  one path left
            n4    member  40 ms ago   trouble  0.3 ms                standby
            n5    lost    320 ms ago  dead     dead                  its services may start elsewhere in 560 ms

            SERVICE    STATE          NODE  SINCE  NOTE
            service-0  starting       n1    0 ms   restarted after its process ended with code 1
            service-1  broken-unsafe  n2    65 s   blocked on n3: failed 3 times within 10 minutes
            service-2  stopped        -     2 min  manual
            service-3  running        n4    3 min  manual on n2

            warning   guard: it is gone: services stop when this daemon does
            warning   four nodes are left and no tie-breaker is configured
            counted   12 × datagrams of another cluster (id 11) came in on net0
        "#]],
    );
}

#[test]
fn a_node_that_is_cut_off_says_so_first() {
    let mut status = large();
    status.verdict = Verdict::NoView;
    status.node.state = NodeState::Member;
    status.view.primary = false;
    let waiting = "1 of 5 members of generation 7; waiting for 2 of n2, n3, n4, n5";
    status.view.waiting = Some(waiting.into());
    status.reasons = vec![waiting.into()];
    status.nodes[0].waiting = Some(waiting.into());
    status.nodes.truncate(3);
    status.nodes.iter_mut().skip(1).for_each(|node| {
        node.state = NodeState::Unknown;
        node.age_ms = Some(12_400);
    });
    status.paths.retain(|path| ["n2", "n3"].contains(&path.peer.as_str()));
    status.paths.iter_mut().for_each(|path| {
        path.state = PathState::Dead;
        path.direction = Some(Direction::NotHeard);
    });
    status.services.truncate(2);
    status.services[1].state = ServiceState::Unknown;
    status.services[1].node = None;
    status.services[1].age_ms = Some(12_400);
    check(
        &super::status(&status, Style::PLAIN),
        expect![[r#"
            CUT OFF   demo: n1 is in no primary view and runs nothing
                      1 of 5 members of generation 7; waiting for 2 of n2, n3, n4, n5
                      its last view was 7; the newest it knows of others is 12 s old

            NODE  STATE    HEARD     net0             net1
            n1    cut off  here
            n2    unknown  12 s ago  dead, not heard  dead, not heard
            n3    unknown  12 s ago  dead, not heard  dead, not heard

            SERVICE    STATE        NODE  SINCE  NOTE
            service-0  was running  n1    0 ms
            service-1  unknown      -     65 s   as of 12 s ago
        "#]],
    );
}

#[test]
fn a_node_that_never_had_a_view_says_what_it_waits_for() {
    let mut status = large();
    status.verdict = Verdict::NoView;
    status.view =
        View { waiting: Some("waiting for 1 more node to seed".into()), ..View::default() };
    status.nodes.truncate(2);
    status.nodes[0].state = NodeState::Unseeded;
    status.nodes[1] = Node { name: "n2".into(), id: 2, online: true, ..Node::default() };
    status.paths.clear();
    status.services.clear();
    check(
        &super::status(&status, Style::PLAIN),
        expect![[r#"
        CUT OFF   demo: n1 is in no primary view and runs nothing
                  waiting for 1 more node to seed
                  it was in no view yet; it never heard of the others

        NODE  STATE     HEARD
        n1    unseeded  here
        n2    unknown   never
    "#]],
    );
}

#[test]
fn colour_only_adds_to_the_words() {
    let mut status = large();
    status.services[0].state = ServiceState::Failed;
    let plain = super::status(&status, Style::PLAIN);
    let coloured = super::status(&status, Style { colour: true, width: usize::MAX });
    assert!(coloured.contains("\x1b[1;31mfailed\x1b[0m"));
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some(start) = rest.find("\x1b[") {
        stripped.push_str(&rest[..start]);
        let end = rest[start..].find('m').expect("a sequence ends");
        rest = &rest[start + end + 1..];
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn narrow_screens_cut_the_last_column() {
    let mut status = large();
    status.services[0].state = ServiceState::Failed;
    status.services[0].reason = Some("a reason that is rather long ".repeat(5));
    let text = super::status(&status, Style { colour: false, width: 60 });
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with("service-")).collect();
    assert!(table.iter().all(|line| line.chars().count() <= 60), "{text}");
    assert!(table[0].ends_with('…'), "{text}");
}

#[test]
fn membership_says_how_much_may_fail() {
    let mut status = large();
    status.view.members.pop();
    status.nodes[4].state = NodeState::Lost;
    status.nodes[1].jeopardy = true;
    check(
        &super::membership(&status.membership(), Style::PLAIN),
        expect![[r#"
            view 7 of lineage 0badcafe, hub n2, 3 min old
            2 members can be lost at once, and the rest goes on
            ties are broken by witness 10.0.0.9:7402

            MEMBER  ID  INCARNATION    HEARD      NOTE
            n1      1   1700000000001  here
            n2      2   1700000000002  40 ms ago  one path left
            n3      3   1700000000003  40 ms ago
            n4      4   1700000000004  40 ms ago

            not in it: n5 (lost)
        "#]],
    );
}

#[test]
fn a_service_is_shown_in_full() {
    let mut service = large().services.remove(2);
    service.nodes.truncate(2);
    service.reason = Some("n3 is the first of its nodes that may run it".into());
    service.failures.insert("n1".into(), 3);
    service.blocked.insert("n1".into(), "failed 3 times within 10 min".into());
    service.resources = vec![
        Resource {
            name: "ip".into(),
            kind: "address".into(),
            state: ResourceState::Running,
            detail: "10.77.0.100/24 on eth0".into(),
        },
        Resource {
            name: "server".into(),
            kind: "process".into(),
            state: ResourceState::Running,
            detail: "/usr/sbin/nginx, pid 4711".into(),
        },
    ];
    check(
        &super::service(&service, true, Style::PLAIN),
        expect![[r#"
        service-2 is running on n3 for 2 min
        n3 is the first of its nodes that may run it

        NODE  MODE       FAILURES  BLOCKED
        n1    automatic  3         failed 3 times within 10 min
        n2    automatic

        RESOURCE  KIND     STATE    WHAT
        ip        address  running  10.77.0.100/24 on eth0
        server    process  running  /usr/sbin/nginx, pid 4711
    "#]],
    );
}

#[test]
fn nodes_are_listed_and_shown() {
    let mut status = large();
    status.nodes.truncate(3);
    status.nodes[1].online = false;
    status.nodes[2] = Node { name: "n3".into(), id: 3, online: true, ..Node::default() };
    status.nodes[2].waiting = Some("never heard of".into());
    status.view.primary = false;
    let list = super::nodes(&status.nodes(), Style::PLAIN);
    let one = super::node(&status.nodes[1], true, Style::PLAIN);
    check(
        &format!("{list}\n{one}"),
        expect![[r#"
        CUT OFF  this node is in no primary view: what it says is old
        NODE  ID  STATE    HEARD      SERVICES  NOTE
        n1    1   member   now        online
        n2    2   member   40 ms ago  standby
        n3    3   unknown  never      online    never heard of

        n2 (id 2) is member, heard 40 ms ago
        incarnation 1700000000002
        standby: it takes no services
    "#]],
    );
}

#[test]
fn why_tells_the_chain() {
    let notes = Notes {
        schema: 1,
        service: Some("web".into()),
        notes: vec![
            Note {
                id: 41,
                at: "2026-11-21T22:00:00.120Z".into(),
                position: 812,
                generation: 7,
                node: Some("n1".into()),
                what: "n1 is lost".into(),
                cause: "all paths to n1 are dead: net0 and net1 silent for 250 ms".into(),
                rule: "view".into(),
                ..Note::default()
            },
            Note {
                id: 42,
                at: "2026-11-21T22:00:00.880Z".into(),
                position: 815,
                generation: 8,
                service: Some("web".into()),
                node: Some("n3".into()),
                what: "start".into(),
                cause: "n1 is fenced by time (0.88 s)".into(),
                cause_id: Some(41),
                rule: "list order".into(),
                rejected: vec![Rejected { what: "n2".into(), why: "standby".into() }],
                result: Some("running after 0.12 s".into()),
            },
        ],
        addresses: vec![Address {
            address: "10.9.0.1".into(),
            service: Some("web".into()),
            network: Some("lan".into()),
            interface: Some("eth1".into()),
            phase: "owned".into(),
            why: "least-load: eth1 has 0, eth0 1".into(),
            dropped: Some("collocation-with-persistent is dropped: eth0 has no carrier".into()),
            later: None,
            gateways: vec![AddressGateway {
                gateway: "10.9.0.254".into(),
                state: "learned".into(),
                took_ms: Some(301),
                why: None,
            }],
        }],
    };
    check(
        &super::notes(&notes, Style::PLAIN),
        expect![[r#"
            #41 2026-11-21T22:00:00.120Z, position 812
                n1 is lost
                because  all paths to n1 are dead: net0 and net1 silent for 250 ms
                rule     view
            #42 2026-11-21T22:00:00.880Z, position 815
                web on n3: start
                because  n1 is fenced by time (0.88 s) (#41)
                rule     list order
                not      n2: standby
                result   running after 0.12 s
            10.9.0.1 is on eth1 here
                because  least-load: eth1 has 0, eth0 1
                in vain  collocation-with-persistent is dropped: eth0 has no carrier
                gateway  10.9.0.254 has learned it after 301 ms
        "#]],
    );
    let none =
        Notes { schema: 1, service: Some("web".into()), notes: Vec::new(), addresses: Vec::new() };
    assert_eq!(super::notes(&none, Style::PLAIN), "nothing was decided about web yet\n");
}

#[test]
fn history_is_a_line_for_each_event() {
    let event = |id, level, code: &str, text: &str, service: Option<&str>| Event {
        id,
        at: format!("2026-11-21T22:00:0{id}Z"),
        node: "n1".into(),
        code: code.into(),
        level,
        text: text.into(),
        service: service.map(str::to_owned),
        cause: None,
    };
    let events = Events {
        schema: 1,
        events: vec![
            event(1, EventLevel::Warning, "path-dead", "net0 to n2 is dead: not heard", None),
            event(2, EventLevel::Info, "service-started", "started in 0.1 s", Some("web")),
        ],
        forgotten: 3,
    };
    check(
        &super::events(&events, Style::PLAIN),
        expect![[r#"
        3 older events are no longer there
        2026-11-21T22:00:01Z  n1  path-dead  net0 to n2 is dead: not heard
        2026-11-21T22:00:02Z  n1  service-started  web: started in 0.1 s
    "#]],
    );
}

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
[[node]]
name = "n3"
id = 3
[[service]]
name = "web"
nodes = ["n1", "n2"]
start_timeout = "30s"
[[service.resource]]
name = "ip"
kind = "address"
address = "10.77.0.100/24"
[[service]]
name = "cron"
nodes = ["n3"]
mode = "manual"
[[service.resource]]
name = "crond"
kind = "process"
command = ["crond"]
"#;

fn bound(text: &str) -> v1::Bound {
    match config::parse(text, "test", 1) {
        Ok((cluster, _)) => crate::bound::bound(&cluster),
        Err(found) => panic!("{}", found.render(false)),
    }
}

#[test]
fn bounds_are_explained() {
    check(
        &super::bound(&bound(CONFIG), Style::PLAIN),
        expect![[r#"
            detection fast: heartbeat 50ms, path timeout 250ms, lease 750ms, release 100ms, F 879ms

            when the node of a service is lost, at most:

            SERVICE  CLASS      DETECTED  + AGREED  F      STARTS AFTER  + START  = RUNS AFTER
            web      contained  300ms     150ms     879ms  929ms         30s      30.929s
            cron     contained  300ms     150ms     879ms  929ms         1m       60.929s

            why, for web:
              detection 300ms: path timeout 250ms and one heartbeat 50ms
              view change 150ms: the members' promises
              F 878.5ms: lease 750ms + release 100ms, 10 ‰ for the clocks' rates, 20ms granularity; counted from the last contact, so it runs beside the two above
              F is the longer one: a shorter lease makes the takeover faster
              start budget 30s: start_timeout; a start that takes less is done earlier

            why, for cron:
              detection 300ms: path timeout 250ms and one heartbeat 50ms
              view change 150ms: the members' promises
              F 878.5ms: lease 750ms + release 100ms, 10 ‰ for the clocks' rates, 20ms granularity; counted from the last contact, so it runs beside the two above
              F is the longer one: a shorter lease makes the takeover faster
              start budget 1m: start_timeout; a start that takes less is done earlier
              it has one node: nothing takes it over, and there is no bound
              its mode is manual: it starts elsewhere only when told

            provided that:
              more than half of the last view goes on, and its members reach each other
              clocks of nodes run equally fast within 0.5 %; their dates do not matter
              on the lost node the guard still runs, or the whole node has stopped: it needs up to 100ms to stop the service
              when the guard is stopped as well, the kernel closes the service's addresses at the end of the lease where "mainstay gate" shows a gate; elsewhere they may answer up to 2 s longer
              a virtual machine that its host froze may answer for the rest of its lease when it wakes
        "#]],
    );
}

/// The sum is made of its parts, and F is the one that the core waits for.
#[test]
fn bounds_add_up() {
    for preset in base::Preset::ALL {
        let bound = bound(&CONFIG.replace("\"fast\"", &format!("\"{}\"", preset.name())));
        let fence = preset.timing().fence_wait().as_nanos().div_ceil(1_000_000);
        for service in &bound.services {
            let free = service.free_ms.expect("it has a bound");
            assert_eq!(service.fence_wait_ms.map(u128::from), Some(fence));
            assert_eq!(service.sum_ms, Some(free + service.start_budget_ms));
            assert!(service.free_ms >= service.fence_wait_ms);
            assert!(free >= service.detection_ms + service.view_change_ms);
        }
    }
}

#[test]
fn what_writes_has_no_bound_and_says_what_mends_that() {
    let storage = CONFIG.replace("name = \"web\"", "name = \"web\"\nclass = \"storage\"");
    let bound = bound(&storage);
    let service = bound.services.iter().find(|service| service.name == "web").expect("it is one");
    assert_eq!(
        (service.class.as_str(), service.fence_wait_ms, service.sum_ms),
        ("storage", None, None)
    );
    let why = service.why.join("\n");
    assert!(why.contains("class storage (the configuration says so)"), "{why}");
    assert!(why.contains("a [[fence]] mends that"), "{why}");
    let shown = super::bound(&bound, Style::PLAIN);
    assert!(shown.contains("by proof only"), "{shown}");

    let watched = storage + "\n[watchdog]\ndevice = \"/dev/watchdog0\"\ntimeout = \"30s\"\n";
    let bound = self::bound(&watched);
    let service = bound.services.iter().find(|service| service.name == "web").expect("it is one");
    let timing = base::Preset::named(&bound.detection).expect("it is one").timing();
    let wait = timing.storage_fence_wait(std::time::Duration::from_secs(30));
    let wait = wait.as_nanos().div_ceil(1_000_000);
    assert_eq!(service.fence_wait_ms.map(u128::from), Some(wait));
    let why = service.why.join("\n");
    assert!(why.contains("the longest watchdog of its nodes 30s"), "{why}");
}

#[test]
fn two_nodes_have_a_bound_only_for_one_side() {
    let two =
        CONFIG.replace("[[node]]\nname = \"n3\"\nid = 3\n", "").replace("[\"n3\"]", "[\"n2\"]");
    let why = |text: &str| bound(text).services[0].why.join("\n");
    assert!(why(&two).contains("the other one stops too"));
    let prefer = two.replace("id = 10", "id = 10\ntie = \"prefer:n2\"");
    assert!(why(&prefer).contains("only n2 goes on alone"));
}

#[test]
fn durations_are_short() {
    for (millis, text) in [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_250, "1.2 s"),
        (59_000, "59 s"),
        (119_000, "119 s"),
        (180_000, "3 min"),
        (7_500_000, "2 h 5 min"),
        (7_200_000, "2 h"),
        (400_000_000, "4 d"),
    ] {
        assert_eq!(duration(millis), text);
    }
}

#[test]
fn a_path_that_is_kept_back_and_a_lone_half_are_explained() {
    let kept = Path {
        peer: "n2".into(),
        network: "net0".into(),
        kind: "udp".into(),
        local: "10.1.6.88:7365".into(),
        remote: "10.1.6.89:7365".into(),
        rank: None,
        priority: Priority::High,
        state: PathState::Dead,
        direction: None,
        rtt_us: None,
        loss: 0.0,
        rtt_min_avg_max_us: None,
        loss_out: None,
        jitter_us: None,
        age_ms: Some(20),
        echoes_wanted: Some(7),
        damped_ms: Some(1_400),
        peer_has_half: None,
    };
    let lone = Path {
        network: "10.1.6.88/10.1.6.89".into(),
        rank: Some(1),
        echoes_wanted: None,
        damped_ms: None,
        peer_has_half: Some(false),
        ..kept.clone()
    };
    let there = Path { peer_has_half: Some(true), ..lone.clone() };
    assert_eq!(missing_half(&there, "n1"), None);
    let report = Paths { schema: 1, node: "n1".into(), paths: vec![kept, lone] };
    let text = paths(&report, Style { colour: false, width: usize::MAX });
    for expected in [
        "n2 over net0: it kept changing and is kept out of use: 7 more good echoes wanted, 1.4 s",
        "n2 has no half of this path; on n2: mainstay path create n1 10.1.6.89 10.1.6.88 --port 7365",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_node_that_leaves_says_how_far_it_is() {
    let leaving = Leaving {
        services: 5,
        stopped: 2,
        elapsed_ms: 12_700,
        budget_ms: 90_000,
        stopping: vec!["db".into(), "mail".into()],
    };
    let said = super::leaving(&leaving);
    assert_eq!(said, "leaving: 2 of 5 services stopped, 12 s of 90 s; still here: db, mail");
}

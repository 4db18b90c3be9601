//! How a node of LLT starts.

use super::*;

fn of(timers: &[(&'static str, u64)]) -> (String, Timing) {
    detection(&timers.iter().copied().collect())
}

#[test]
fn timers_become_overrides_of_classic_that_hold() {
    assert_eq!(of(&[]), ("\"classic\"".to_owned(), Preset::Classic.timing()));
    for timers in [
        &[("heartbeat", 20), ("peertrouble", 50), ("peerinact", 100)][..],
        &[("peerinact", 3200)],
        &[("peerinact", 500)],
        &[("heartbeat", 10)],
        &[("peertroublelo", 300), ("heartbeatlo", 200)],
    ] {
        let (written, timing) = of(timers);
        timing.check().expect("it holds");
        let nodes = [(0, "athena".to_owned()), (1, "zeus".to_owned())];
        let text = text(10, &written, &nodes);
        let (cluster, _) = config::parse(&text, "cluster.toml", 0).expect(&text);
        assert_eq!(cluster.timing, timing, "{text}");
        assert_eq!((cluster.id, cluster.seed), (10, 2));
        assert_eq!(cluster.node("athena"), Some(NodeId(0)));
    }
    // What was written is not bent.
    let (_, timing) = of(&[("peertrouble", 2000)]);
    assert_eq!(timing.check().expect_err("too long").rule, "path timeout ≥ trouble");
    let (_, timing) = of(&[("peerinact", 200)]);
    assert_eq!(timing.check().expect_err("too short").rule, "path timeout ≥ 5 heartbeats");
}

#[test]
fn a_node_uses_its_links_and_leaves_the_others_their_places() {
    let text = "set-node 0\nset-cluster 10\nlink other eth9 2-3 ether - -\n\
                link lan eth0 0-1 ether - -\nlink far udp 0,2 udp 50000 - 10.0.0.1 -\n\
                set-addr 2 far 10.0.0.3\n";
    let tab = tab::parse(text).expect("it is good");
    let nodes: Vec<(u8, String)> = (0..4).map(|id| (id, format!("n{id}"))).collect();
    let file = Path::new("llttab");
    let found = paths(file, &tab, &nodes, 0, &[]).expect("its links are there");
    let seen: Vec<(u8, &str)> = found.iter().map(|path| (path.rank, path.peer.as_str())).collect();
    assert_eq!(seen, [(2, EVERYBODY), (3, "n2")], "node 1 is not on the third");
    let Err(Failure::Refused(said)) = paths(file, &tab, &nodes[..1], 31, &[]) else {
        panic!("node 31 is on none")
    };
    assert!(said.contains("no link leads from node 31"), "{said}");
}

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

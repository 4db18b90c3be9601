use super::in_log;

#[test]
fn a_panic_is_a_death() {
    let log =
        "guard: ready\nthread 'main' panicked at crates/node/src/machine.rs:7:9:\nno such member\n";
    assert_eq!(
        in_log("n1", log),
        ["n1: thread 'main' panicked at crates/node/src/machine.rs:7:9:"]
    );
}

#[test]
fn a_daemon_that_ends_by_a_signal_of_nobody_is_one() {
    let ended = |signal: u8| {
        format!(
            "guard: the daemon (process 12) was ended by signal {signal} after 3 s; services run on"
        )
    };
    assert_eq!(in_log("n2", &ended(6)).len(), 1);
    assert_eq!(in_log("n2", &ended(11)).len(), 1);
    assert_eq!(in_log("n2", &ended(9)), Vec::<String>::new(), "that one was dealt");
    let left = "guard: the daemon (process 12) ended with code 1 after 0 s; starting it again";
    assert_eq!(in_log("n2", left), Vec::<String>::new(), "it said why before");
}

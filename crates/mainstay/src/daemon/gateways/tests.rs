//! When gateways count as silent.

use super::*;

const NET: NetworkId = NetworkId(3);

fn question(gateway: &str) -> Question {
    let local = "10.0.0.7".parse().unwrap();
    Question { network: NET, local, gateways: vec![gateway.parse().unwrap()] }
}

#[test]
fn three_rounds_without_an_answer_are_silence_and_one_answer_ends_it() {
    let mut rounds = Rounds::default();
    for _ in 1..MISSES {
        rounds.count(NET, false);
        assert!(rounds.silent().is_empty());
    }
    rounds.count(NET, false);
    assert_eq!(rounds.silent(), BTreeSet::from([NET]));
    // It does not count further: one answer is enough after a day, too.
    for _ in 0..100 {
        rounds.count(NET, false);
    }
    rounds.count(NET, true);
    assert!(rounds.silent().is_empty());
    rounds.count(NET, false);
    assert!(rounds.silent().is_empty(), "it begins anew");
}

#[test]
fn who_may_not_ask_knows_nothing() {
    let mut rounds = Rounds::default();
    let questions = [question("10.0.0.1")];
    let unable = |_: &Question| Err(io::ErrorKind::PermissionDenied.into());
    for _ in 1..MISSES {
        assert_eq!(rounds.go(&questions, |_| Ok(false)), None);
    }
    let said = rounds.go(&questions, unable);
    assert_eq!(said.as_deref(), Some("gateways cannot be asked: permission denied"));
    for _ in 1..MISSES {
        rounds.go(&questions, |_| Ok(false));
        assert!(rounds.silent().is_empty(), "it counts from the beginning");
    }
    rounds.go(&questions, |_| Ok(false));
    assert_eq!(rounds.silent(), BTreeSet::from([NET]));
    rounds.go(&questions, unable);
    assert!(rounds.silent().is_empty(), "what was known is known no more");
}

#[test]
fn a_thread_that_could_not_start_is_tried_again() {
    let (done, _reports) = os::event::queue(1).expect("a queue");
    let mut gateways = Gateways::new(done);
    let wanted = vec![question("10.0.0.1")];
    let refused = gateways.mind(wanted.clone(), |_| Err(io::Error::other("too many threads")));
    assert_eq!(refused.expect_err("none").to_string(), "too many threads");
    let (sender, asked) = sync_channel(1);
    gateways.mind(wanted.clone(), |_| Ok(sender)).expect("it starts");
    assert_eq!(asked.try_recv().as_ref(), Ok(&wanted));
    // The same is not asked for twice, and there is one thread.
    gateways.mind(wanted, |_| panic!("it runs")).expect("nothing to do");
    assert!(asked.try_recv().is_err());
    gateways.mind(Vec::new(), |_| panic!("it runs")).expect("it takes it");
    assert_eq!(asked.try_recv(), Ok(Vec::new()));
}

#[test]
fn what_is_asked_no_more_is_not_silent() {
    let mut rounds = Rounds::default();
    (0..MISSES).for_each(|_| rounds.count(NET, false));
    rounds.keep(&[question("10.0.0.1")]);
    assert_eq!(rounds.silent(), BTreeSet::from([NET]), "it is still asked");
    rounds.keep(&[]);
    assert!(rounds.silent().is_empty());
}

#[test]
fn only_with_arbiters_and_only_from_an_own_address() {
    let text = "[cluster]\nname = \"a\"\nid = 1\n\n[[node]]\nname = \"n1\"\nid = 1\n\n[[node]]\nname = \"n2\"\nid = 2\n\n\
                [[network]]\nname = \"net0\"\nnodes = { n1 = \"10.0.0.7/24\", n2 = \"10.0.0.8/24\" }\n\
                gateways = [\"10.0.0.1\"]\n";
    let tie = "\n[tiebreaker]\nkind = \"witness\"\naddress = \"10.0.0.9:7402\"\n";
    let read = |text: &str| crate::config::parse(text, "cluster.toml", 1).expect("it is right").0;
    let n1 = read(text).node("n1").unwrap();
    assert_eq!(questions(&read(text), n1), []);
    let tied = read(&format!("{text}{tie}"));
    let asked = Question { network: NetworkId(0), ..question("10.0.0.1") };
    assert_eq!(questions(&tied, n1), [asked]);
}

use std::collections::BTreeSet;

use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn heard(from: &str, last: Option<u8>, at: u64) -> Heard {
    let address = last.map(|last| Ipv4Addr::new(10, 88, 1, last));
    Heard { from: from.to_owned(), address, at: ms(at) }
}

#[test]
fn no_address_is_given_twice() {
    for many in [Many::SEED, Many::LIMIT] {
        let all: BTreeSet<Ipv4Addr> = many.list().into_iter().collect();
        assert_eq!(all.len(), many.addresses);
        assert!(all.iter().all(|address| !matches!(address.octets()[3], 0 | 255)));
    }
}

#[test]
fn the_first_announcement_of_the_right_node_counts() {
    let all = [
        heard("n1", Some(1), 5),
        heard("n2", Some(1), 10),
        heard("n1", Some(1), 20),
        heard("n2", Some(1), 21),
        heard("n2", None, 22),
        heard("n2", Some(1), 30),
        heard("n3", Some(2), 40),
    ];
    let found = first_announcements(&all, ms(15), &|node: &str| node != "n1");
    let expected = [(Ipv4Addr::new(10, 88, 1, 1), ms(21)), (Ipv4Addr::new(10, 88, 1, 2), ms(40))];
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn a_silence_counts_that_reaches_into_the_time_looked_at() {
    let at = |times: &[u64]| -> Vec<Heard> {
        times.iter().map(|time| heard("n2", None, *time)).chain([heard("n3", None, 150)]).collect()
    };
    let silence = |times: &[u64]| longest_silence(&at(times), "n2", ms(100), ms(200));
    assert_eq!(silence(&[0, 90, 110, 140, 190, 230]), Some(ms(50)));
    assert_eq!(silence(&[0, 105, 190, 290]), Some(ms(105)), "it began before");
    assert_eq!(silence(&[0, 190, 105, 290]), Some(ms(105)), "in another order");
    assert_eq!(silence(&[0, 105, 190, 290, 900]), Some(ms(105)), "what comes later does not count");
    assert_eq!(silence(&[90, 110]), Some(ms(90)), "nothing more was heard");
    assert_eq!(silence(&[110, 190]), None, "it was not heard before");
    assert_eq!(silence(&[]), None);
}

#[test]
fn a_heartbeat_that_is_missed_is_a_complaint_and_so_is_a_silence_without_any() {
    let taken = |silence| Takeover { first: 0.0, half: 0.0, last: 0.0, silence };
    let interval = ms(50);
    for good in [0.0, 54.0, 99.9] {
        assert_eq!(taken(Some(good)).complaint(interval), None, "{good} ms");
    }
    let said = taken(Some(100.0)).complaint(interval).expect("one is missing");
    assert!(said.starts_with("1 heartbeats were missed"), "{said}");
    assert!(said.ends_with("100 ms without one, the limit is 100 ms"), "{said}");
    let said = taken(None).complaint(interval).expect("nobody was heard");
    assert!(said.starts_with("two of the nodes that are left heard no heartbeat"), "{said}");
}

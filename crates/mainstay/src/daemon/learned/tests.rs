//! Whom is asked from where, and what follows.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

fn question(address: &str, gateways: &[&str]) -> Question {
    Question {
        question: 1,
        interface: "eth1".to_owned(),
        address: ip(address),
        gateways: gateways.iter().map(|gateway| (ip(gateway), ip("10.0.0.7"))).collect(),
    }
}

#[test]
fn who_answers_the_service_address_is_asked_nothing_else() {
    let questions = [question("10.0.0.100", &["10.0.0.1"]), question("10.0.0.101", &["10.0.0.1"])];
    let mut rounds = 0;
    let answers = answer(&questions, |requests| {
        rounds += 1;
        let expected = |address| Request {
            local: ip(address),
            interface: Some("eth1".to_owned()),
            target: ip("10.0.0.1"),
        };
        assert_eq!(requests, [expected("10.0.0.100"), expected("10.0.0.101")]);
        Ok(vec![Heard::Answer, Heard::Answer])
    });
    assert_eq!(rounds, 1);
    let learned = || Ok(vec![(ip("10.0.0.1"), Echo::Service)]);
    assert_eq!(answers, [learned(), learned()]);
}

#[test]
fn who_does_not_is_asked_from_an_own_address_once() {
    let questions = [
        question("10.0.0.100", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        question("10.0.0.101", &["10.0.0.1", "10.0.0.2"]),
    ];
    let answers = answer(&questions, |requests| {
        if requests[0].interface.is_some() {
            return Ok(vec![
                Heard::Nothing,
                Heard::Nothing,
                Heard::Answer,
                Heard::Answer,
                Heard::Nothing,
            ]);
        }
        let own = |target| Request { local: ip("10.0.0.7"), interface: None, target: ip(target) };
        assert_eq!(requests, [own("10.0.0.1"), own("10.0.0.2")]);
        Ok(vec![Heard::Answer, Heard::Nothing])
    });
    let [one, two, three] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(ip);
    assert_eq!(
        answers,
        [
            Ok(vec![(one, Echo::Own), (two, Echo::Neither), (three, Echo::Service)]),
            Ok(vec![(one, Echo::Service), (two, Echo::Neither)]),
        ]
    );
}

#[test]
fn who_may_not_ask_says_so_of_every_question() {
    let questions = [question("10.0.0.100", &["10.0.0.1"]), question("10.0.0.101", &["10.0.0.1"])];
    let answers = answer(&questions, |_| Err(io::ErrorKind::PermissionDenied.into()));
    let refused = || Err("permission denied".to_owned());
    assert_eq!(answers, [refused(), refused()]);
}

#[test]
fn a_question_that_does_not_leave_accuses_nobody() {
    let questions = [question("10.0.0.100", &["10.0.0.1"])];
    let mut rounds = 0;
    let answers = answer(&questions, |_| {
        rounds += 1;
        Ok(vec![Heard::Unsent])
    });
    assert_eq!((rounds, answers), (1, vec![Ok(vec![(ip("10.0.0.1"), Echo::Unasked)])]));
}

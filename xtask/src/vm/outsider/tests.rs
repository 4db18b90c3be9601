use std::net::Ipv4Addr;
use std::time::Duration;

use lab::client::{Question, Reply, checksum};
use lab::spec;

use super::{Outsider, PORT};

const TARGET: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const SERVICE: u16 = 7700;
const NOW: Duration = Duration::from_secs(5);

fn outsider() -> Outsider {
    Outsider::new(TARGET, SERVICE, vec![spec::hardware(0, 1), spec::hardware(0, 2)])
}

/// The frame with receiver and sender exchanged, as a kernel would answer it.
fn answered(frame: &[u8], node: u8, question: Question) -> Vec<u8> {
    let reply = Reply { question, pid: 7, name: "n" }.encode();
    let mut answer = frame[6..12].to_vec();
    answer.extend(spec::hardware(0, node));
    answer.extend(&frame[12..26]);
    answer.extend(&frame[30..34]);
    answer.extend(&frame[26..30]);
    answer.extend(SERVICE.to_be_bytes());
    answer.extend(PORT.to_be_bytes());
    answer.extend((reply.len() as u16 + 8).to_be_bytes());
    answer.extend([0, 0]);
    answer.extend(reply);
    answer
}

#[test]
fn each_machine_is_asked_and_two_that_answer_are_seen() {
    let mut outsider = outsider();
    let frames = outsider.ask(NOW);
    assert_eq!(frames.len(), 3);
    assert!(outsider.ask(NOW).is_empty());
    for (frame, node) in frames.iter().zip([1, 2]) {
        assert_eq!(frame[..6], spec::hardware(0, node));
        assert_eq!(checksum(&frame[14..34]), 0);
        let question = Question::decode(&frame[42..]).expect("it is a question");
        assert_eq!(question.number, 0);
        assert_eq!(outsider.hear(&answered(frame, node, question), NOW), None);
    }
    let verdict = outsider.seen().answers.verdict();
    assert_eq!((verdict.sent, verdict.answered_twice), (1, 1));
    assert_eq!(verdict.responders.len(), 2);
}

#[test]
fn datagrams_of_others_are_no_answers() {
    let mut outsider = outsider();
    let frames = outsider.ask(NOW);
    let question = Question { number: 0, sent: 0 };
    let good = answered(&frames[0], 1, question);
    for place in [23, 26, 30, 34, 36, 42] {
        let mut other = good.clone();
        other[place] ^= 1;
        outsider.hear(&other, NOW);
    }
    for length in 0..good.len() {
        outsider.hear(&good[..length], NOW);
    }
    assert_eq!(outsider.seen().answers.answers, []);
    outsider.hear(&good, NOW);
    assert_eq!(outsider.seen().answers.answers.len(), 1);
}

#[test]
fn who_asks_for_its_address_by_arp_is_told_and_who_has_the_service_is_noted() {
    let mut outsider = outsider();
    outsider.ask(NOW);
    let mut asking = vec![0xff; 6];
    asking.extend(spec::hardware(0, 2));
    asking.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    asking.extend(spec::hardware(0, 2));
    asking.extend([10, 77, 0, 2]);
    asking.extend([0; 6]);
    asking.extend([10, 77, 0, 254]);
    let told = outsider.hear(&asking, NOW).expect("it answers");
    assert_eq!(told[..6], spec::hardware(0, 2));
    assert_eq!(told[20..22], [0, 2]);
    assert_eq!(told[22..32], [&spec::hardware(0, 254)[..], &[10, 77, 0, 254]].concat());

    let mut saying = asking.clone();
    saying[21] = 2;
    saying[28..32].copy_from_slice(&TARGET.octets());
    assert_eq!(outsider.hear(&saying, NOW), None);
    assert_eq!(outsider.seen().owners.last_responder(), Some("n2"));
}

use super::*;

#[test]
fn both_ways() {
    let question = Question { number: 7, sent: u64::MAX };
    assert_eq!(Question::decode(&question.encode()), Some(question));
    let reply = Reply { question, pid: 99, name: "n1" };
    assert_eq!(Reply::decode(&reply.encode()), Some(reply));
}

#[test]
fn foreign_datagrams_are_nothing() {
    assert_eq!(Question::decode(b"MLq1"), None);
    assert_eq!(Question::decode(&[0; 20]), None);
    assert_eq!(Reply::decode(&Question { number: 1, sent: 2 }.encode()), None);
}

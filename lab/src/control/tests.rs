use super::*;

#[test]
fn words_become_commands() {
    let parse = |text: &str| Command::parse(&text.split(' ').collect::<Vec<_>>());
    assert_eq!(parse("heal").ok(), Some(Command::HealAll));
    assert_eq!(parse("kill n1").ok(), Some(Command::Kill("n1".into(), Which::Daemon)));
    assert_eq!(parse("stop n1 both").ok(), Some(Command::Stop("n1".into(), Which::Both)));
    let sides = Command::Partition(vec!["n1".into()], vec!["n2".into(), "client".into()]);
    assert_eq!(parse("partition n1 n2,client").ok(), Some(sides));
    for wrong in ["", "cut n1", "loss n1 net0 many", "kill n1 cat", "heal n1"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

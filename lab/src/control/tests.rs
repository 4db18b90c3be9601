use super::*;

#[test]
fn words_become_commands() {
    let parse = |text: &str| Command::parse(&text.split(' ').collect::<Vec<_>>());
    assert_eq!(parse("heal").ok(), Some(Command::HealAll));
    assert_eq!(parse("kill n1").ok(), Some(Command::Kill("n1".into(), Which::Daemon)));
    assert_eq!(parse("stop n1 both").ok(), Some(Command::Stop("n1".into(), Which::Both)));
    let sides = Command::Partition(vec!["n1".into()], vec!["n2".into(), "client".into()]);
    assert_eq!(parse("partition n1 n2,client").ok(), Some(sides));
    assert_eq!(parse("disk freeze").ok(), Some(Command::DiskFreeze(None)));
    assert_eq!(parse("disk thaw n2").ok(), Some(Command::DiskThaw(Some("n2".into()))));
    let silence = |what| Some(Command::Silence("n1".into(), "net0s".into(), what));
    assert_eq!(parse("silence n1 net0s").ok(), silence(Silence::Both));
    assert_eq!(parse("silence n1 net0s in").ok(), silence(Silence::In));
    let noise = Command::LineNoise("n1".into(), "n2".into(), 5);
    assert_eq!(parse("line noise n1 n2 5").ok(), Some(noise));
    for wrong in ["disk", "disk melt", "disk freeze n1 n2", "line cut n1", "line noise n1 n2 x"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    for wrong in ["", "cut n1", "silence n1 net0 up", "loss n1 net0 many", "kill n1 cat", "heal n1"]
    {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

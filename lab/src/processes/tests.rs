use super::*;

fn process(pid: i32, parent: i32, words: &[&str]) -> Process {
    let command = words.iter().map(|word| word.to_string()).collect();
    Process { pid, parent, state: 'S', command }
}

#[test]
fn stat_with_a_hostile_name() {
    assert_eq!(parse_stat("77 (a) R 9 (b) T 5 77 77 0"), Some(('T', 5)));
    assert_eq!(parse_stat("nonsense"), None);
}

#[test]
fn family_in_any_order() {
    let all = [
        process(9, 8, &["service"]),
        process(8, 7, &["mainstay", "daemon"]),
        process(7, 1, &["mainstay", "run"]),
        process(20, 1, &["other"]),
    ];
    let pids: Vec<i32> = descendants(&all, &[7]).iter().map(|p| p.pid).collect();
    assert_eq!(pids, [8, 9]);
    assert_eq!(daemon_of(&all, 7).map(|p| p.pid), Some(8));
    assert_eq!(daemon_of(&all, 20), None);
}

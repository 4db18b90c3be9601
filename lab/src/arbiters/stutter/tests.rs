use std::process::Command;

use super::*;
use crate::processes;

fn state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    processes::parse_stat(&stat.ok()?).map(|(state, _)| state)
}

#[test]
fn a_process_stands_still_in_turns_and_goes_on_in_the_end() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = Pid::from_child(&child);
    let stutter = Stutter::start(pid, Duration::from_millis(20)).unwrap();
    let mut seen = Vec::new();
    let start = clock::now();
    while seen.len() < 4 && clock::now() - start < Duration::from_secs(20) {
        let now = state(pid).map(|state| state == 'T');
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        clock::pause(Duration::from_millis(1));
    }
    stutter.end().unwrap();
    assert!(seen.len() == 4 && seen.iter().all(Option::is_some), "{seen:?}");
    assert_ne!(state(pid), Some('T'));
    child.kill().unwrap();
    child.wait().unwrap();
}

//! Hooks that are shell scripts.

use std::path::Path;
use std::time::Duration;

use node::EventKind;

use super::*;
use crate::config::hook::When;

const BUDGET: Duration = Duration::from_secs(30);

fn shell(script: &str, timeout: Duration) -> Run {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let hook = Hook {
        name: "tell".into(),
        events: vec![EventKind::SwapAdapter],
        when: When::After,
        networks: Vec::new(),
        command,
        timeout,
    };
    let environment = vec![("MAINSTAY_EVENT", "swap_adapter".to_owned())];
    Run { hook, environment, occasion: "after swap_adapter of net0".into() }
}

fn runner(directory: &Path) -> Runner {
    let tree = os::cgroup::tree_name("hooks", "n1", directory).expect("a name");
    let runner = Runner::new(&tree);
    runner.open().expect("nothing is there yet");
    runner
}

/// Runs it in a runner of its own, of which nothing is left.
fn run(script: &str, timeout: Duration) -> Ended {
    let directory = tempfile::tempdir().expect("a directory");
    let runner = runner(directory.path());
    let ended = runner.run(&shell(script, timeout));
    runner.dissolve().expect("nothing lives there");
    ended
}

#[test]
fn the_end_is_told_with_the_last_line() {
    let Ended::Code { code: 0, line, .. } = run("true", BUDGET) else { panic!("it ends with 0") };
    assert_eq!(line, None);
    let ended = run("echo one; echo two words >&2; printf '\\n \\n'; exit 3", BUDGET);
    let Ended::Code { code: 3, line, .. } = &ended else { panic!("{ended:?}") };
    assert_eq!(line.as_deref(), Some("two words"));
    assert!(!ended.is_good());
    let sentence = ended.sentence();
    assert!(sentence.starts_with("exit 3 after ") && sentence.ends_with(" ms: two words"));
    let ended = run("kill -15 $$", BUDGET);
    assert!(matches!(ended, Ended::Signal { signal: 15, .. }), "{ended:?}");
}

#[test]
fn it_is_told_what_it_is_told_and_nothing_else() {
    let script = "env | cut -d= -f1 | sort | paste -sd' '; exit 1";
    let Ended::Code { line, .. } = run(script, BUDGET) else { panic!("it ends") };
    let line = line.expect("it says something");
    // PWD is the shell's own.
    let names: Vec<&str> = line.split(' ').filter(|name| *name != "PWD").collect();
    assert_eq!(names, ["LC_ALL", "MAINSTAY_EVENT", "MAINSTAY_UNIT", "PATH"]);
    let script = "read -r x && exit 1; ls /proc/self/fd | wc -l; exit 5";
    let Ended::Code { code: 5, line, .. } = run(script, BUDGET) else {
        panic!("nothing is to be read")
    };
    // 0, 1, 2, and the directory that ls reads.
    assert_eq!(line.as_deref(), Some("4"));
}

#[test]
fn of_endless_output_the_end_is_kept() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i of many; i=$((i + 1)); done; \
                  printf 'last \\033[1mwords'; exit 2";
    let Ended::Code { code: 2, line, .. } = run(script, BUDGET) else { panic!("it ends") };
    assert_eq!(line.as_deref(), Some("last ?[1mwords"));
    let long = format!("echo {}; exit 2", "x".repeat(1000));
    let Ended::Code { line, .. } = run(&long, BUDGET) else { panic!("it ends") };
    assert_eq!(line.expect("a line").len(), LINE_SIZE_MAX);
}

#[test]
fn one_that_hangs_is_killed_with_all_that_it_has_started() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pids");
    // A child, and one that leaves the session.
    let script = format!(
        "sleep 1000 & echo $! >{0}; setsid sleep 1000 & echo $! >>{0}; echo begun; wait",
        file.display()
    );
    let ended = run(&script, Duration::from_secs(3));
    assert_eq!(ended, Ended::Late { within: Duration::from_secs(3), is_gone: true });
    assert_eq!(ended.sentence(), "timed out after 3s, killed");
    are_gone(&file, 2);
}

#[test]
fn what_it_leaves_running_ends_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pids");
    let script = format!("sleep 1000 & echo $! >{}; exit 0", file.display());
    let ended = run(&script, BUDGET);
    assert!(ended.is_good(), "{ended:?}");
    are_gone(&file, 1);
}

/// The processes whose numbers are in the file are not there, or dead and not reaped.
fn are_gone(file: &Path, count: usize) {
    let pids = std::fs::read_to_string(file).expect("they were written");
    assert_eq!(pids.lines().count(), count, "{pids}");
    for pid in pids.lines() {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let runner = runner(directory.path());
    let mut run = shell("", BUDGET);
    run.hook.command = vec!["/nowhere/tell".into()];
    let Ended::Failed(reason) = runner.run(&run) else { panic!("there is no such program") };
    assert!(reason.starts_with("cannot be run: /nowhere/tell: No such file"), "{reason}");
    runner.dissolve().expect("nothing lives there");
}

#[test]
fn a_stop_ends_what_runs_and_begins_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let runner = runner(directory.path());
    let other = runner.clone();
    let running = std::thread::spawn(move || other.run(&shell("sleep 1000", BUDGET)));
    runner.stop();
    assert_eq!(running.join().expect("it ends"), Ended::Stopped);
    assert_eq!(runner.run(&shell("true", BUDGET)), Ended::Stopped);
    runner.dissolve().expect("nothing lives there");
}

/// A daemon that was killed cannot end its hooks; the next one does.
#[test]
fn the_next_life_ends_what_a_former_one_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let tree = os::cgroup::tree_name("hooks", "n1", directory.path()).expect("a name");
    let former = Containment::open(&tree);
    let mut command = Command::new("/bin/sleep");
    command.arg("1000").stdin(Stdio::null());
    former.enclose("tell", "0", &mut command, None).expect("a group");
    let mut left = command.spawn().expect("it starts");
    let runner = Runner::new(&tree);
    runner.open().expect("it is ended");
    assert_eq!(left.wait().expect("it ends").signal(), Some(9));
    runner.dissolve().expect("nothing lives there");
}

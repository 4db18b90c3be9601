//! Agents that are shell scripts.

use std::collections::BTreeMap;
use std::path::Path;

use base::NodeId;

use super::*;

const BUDGET: Duration = Duration::from_secs(30);

fn script(directory: &Path, text: &str) -> Fence {
    let file = directory.join("agent");
    crate::testing::write_program(&file, &format!("#!/bin/sh\n{text}\n"));
    Fence {
        node: NodeId(2),
        level: 1,
        agent: file.display().to_string(),
        timeout: BUDGET,
        options: BTreeMap::new(),
    }
}

fn run_for(fence: &Fence, budget: Duration) -> Result<Ended, String> {
    let (_stop, stopped) = channel();
    run(fence, "n2", "off", budget, &stopped)
}

#[test]
fn it_gets_its_options_on_standard_input_and_answers_with_its_exit_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut fence = script(directory.path(), "cat; env >&2; exit 2");
    fence.options.insert("ip".into(), "10.0.0.9".into());
    let ended = run_for(&fence, BUDGET).expect("it ends");
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.output, "ip=10.0.0.9\nnodename=n2\naction=off\n");
}

#[test]
fn secrets_come_from_files_and_are_never_repeated() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut fence = script(directory.path(), "cat; echo cannot log in with hunter2 >&2; exit 1");
    let secret = directory.path().join("password");
    std::fs::write(&secret, "hunter2\nsecond line\n").expect("it can be written");
    fence.options.insert("password_file".into(), secret.display().to_string());
    let ended = run_for(&fence, BUDGET).expect("it ends");
    assert!(ended.output.contains("password=hunter2\n"), "{}", ended.output);
    assert_eq!(ended.complaint.as_deref(), Some("cannot log in with ***"));
    fence.options.insert("password_file".into(), "/nowhere".into());
    let error = run_for(&fence, BUDGET).expect_err("there is no such file");
    assert!(error.starts_with("cannot read /nowhere"), "{error}");
}

#[test]
fn one_that_hangs_is_killed_with_all_that_it_has_started() {
    let directory = tempfile::tempdir().expect("a directory");
    let child = directory.path().join("child");
    let text = format!("sleep 300 & echo $! > {}; wait", child.display());
    let fence = script(directory.path(), &text);
    let (stop, stopped) = channel();
    let thread = std::thread::spawn(move || run(&fence, "n2", "off", BUDGET, &stopped));
    let end = os::clock::boottime() + BUDGET;
    let pid = loop {
        assert!(os::clock::boottime() < end, "it has not begun");
        let written = std::fs::read_to_string(&child).unwrap_or_default();
        if let Some(pid) = written.strip_suffix('\n') {
            break pid.to_owned();
        }
        std::thread::park_timeout(LOOK_INTERVAL);
    };
    drop(stop);
    let error = thread.join().expect("no panic").expect_err("it was stopped");
    assert!(error.starts_with("was stopped"), "{error}");
    // It is dead as soon as the signal is there; whoever inherits it reaps it.
    let is_gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z ") || stat.contains(") X "),
        Err(_) => true,
    };
    let end = os::clock::boottime() + BUDGET;
    while !is_gone() {
        assert!(os::clock::boottime() < end, "{pid} lives");
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

#[test]
fn its_time_is_limited_and_its_output_is_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let fence = script(directory.path(), "while :; do echo yes; done");
    let error = run_for(&fence, Duration::from_millis(300)).expect_err("it never ends");
    assert!(error.starts_with("did not end in time and was killed"), "{error}");
    let fence = script(directory.path(), "head -c 1000000 /dev/zero | tr '\\0' x; exit 0");
    let ended = run_for(&fence, BUDGET).expect("it ends");
    assert_eq!((ended.code, ended.output.len()), (Some(0), OUTPUT_SIZE_MAX));
}

#[test]
fn one_that_is_not_there_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut fence = script(directory.path(), "");
    fence.agent = "fence_of_nobody".into();
    let error = run_for(&fence, BUDGET).expect_err("it is not there");
    assert!(error.starts_with("there is no fence_of_nobody in /usr/local/sbin"), "{error}");
    let fence = script(directory.path(), "kill -9 $$");
    assert_eq!(run_for(&fence, BUDGET).expect("it ends").sentence(), "it was killed");
}

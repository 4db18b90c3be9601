use super::*;

/// Looks every 50 ms, each as (machines with a guard, or with a daemon alone as in `-n1`, machines with a responder).
fn count(
    looks: impl IntoIterator<Item = (&'static [&'static str], &'static [&'static str])>,
) -> Count {
    let mut judge = Judge::default();
    for (number, (guards, runs)) in (0..).zip(looks) {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let keeper = |name: String| match name.strip_prefix('-') {
            Some(alone) => (alone.to_owned(), Keeper::Daemon(alone.to_owned())),
            None => (name.clone(), Keeper::Guard(name)),
        };
        let keepers = names(guards).into_iter().map(keeper).collect();
        let machines: BTreeSet<String> = names(runs).into_iter().collect();
        let mut look = Look { at: INTERVAL * number, keepers, ..Look::default() };
        if !machines.is_empty() {
            look.runs.insert("7700".to_owned(), machines);
        }
        judge.note(&look);
    }
    judge.count
}

const BOTH: &[&str] = &["n1", "n2"];

#[test]
fn a_process_on_two_nodes_is_one_too_many() {
    let quiet = [(BOTH, &["n1"][..]); 50];
    let one = count(quiet);
    assert_eq!((one.looks, one.doubles.len()), (50, 0));
    let found = count(quiet.into_iter().chain([(BOTH, BOTH); 3]));
    assert_eq!(found.doubles.len(), 1, "told once: {found:?}");
    assert_eq!(found.complaints(), ["the process at port 7700 ran on n1, n2 at once"]);
    let between = count(quiet.into_iter().chain([(BOTH, BOTH), (BOTH, &["n2"])]));
    assert_eq!(between.complaints(), Vec::<String>::new(), "it was being killed");
}

#[test]
fn without_a_guard_nobody_can_end_anything() {
    let quiet = [(BOTH, &["n1"][..]); 50];
    let stopped = [(&["n2"][..], BOTH); 60];
    assert_eq!(count(quiet.into_iter().chain(stopped)).doubles, []);
    // It goes on, and has a while to end it.
    let goes_on = |looks| quiet.into_iter().chain(stopped).chain(vec![(BOTH, BOTH); looks]);
    assert_eq!(count(goes_on(30)).doubles, []);
    assert_eq!(count(goes_on(50)).doubles.len(), 1);
}

#[test]
fn a_daemon_without_its_guard_has_a_while_to_end_it() {
    let quiet = [(BOTH, &["n1"][..]); 50];
    let alone = |looks| quiet.into_iter().chain(vec![(&["-n1", "n2"][..], BOTH); looks]);
    assert_eq!(count(alone(40)).doubles, []);
    assert_eq!(count(alone(50)).doubles.len(), 1);
}

#[test]
fn a_guard_covers_what_comes_after_its_grace_and_before_its_last_look() {
    let at = |millis: u64| millis * 1_000_000;
    // Both for 3 s, n2 alone for 1 s, both again for 3 s.
    let looks = [(BOTH, &["n1"][..]); 60].into_iter();
    let looks = looks.chain([(&["n2"][..], &["n1"][..]); 20]).chain([(BOTH, &["n1"][..]); 60]);
    let guarded = count(looks).guarded;
    let covered = |node: &str| {
        [1_950, 2_000, 2_950, 3_000, 5_950, 6_000, 6_950, 7_000]
            .map(|millis| guarded.covers(node, at(millis)))
    };
    assert_eq!(covered("n1"), [false, true, true, false, false, true, true, false]);
    assert_eq!(covered("n2"), [false, true, true, true, true, true, true, false]);
    assert_eq!(covered("n3"), [false; 8]);
}

#[test]
fn nothing_seen_is_no_verdict() {
    assert_eq!(count([(BOTH, &[][..]); 50]).complaints().len(), 1);
}

#[test]
fn what_is_ending_or_stopped_does_not_run() {
    let stat = |state: char, flags: u64| format!("7 (a) b) {state} 1 7 7 0 -1 {flags} 100 0");
    let status = |own: &str, shared: &str| format!("Name:\ta\nSigPnd:\t{own}\nShdPnd:\t{shared}\n");
    let none = status("0000000000000000", "0000000000000000");
    assert!(is_running(&stat('S', 0x40_0000), &none));
    assert!(is_running(&stat('S', 0), &status("0000000000004000", "0000000000000000")), "SIGTERM");
    assert!(!is_running(&stat('T', 0), &none));
    assert!(!is_running(&stat('Z', 0), &none));
    assert!(!is_running(&stat('R', 0x40_0004), &none), "exiting");
    assert!(!is_running(&stat('R', 0), &status("0000000000000100", "0000000000000000")), "SIGKILL");
    assert!(!is_running(&stat('R', 0), &status("0000000000000000", "0000000000040000")), "SIGSTOP");
}

#[test]
fn roles() {
    let role = |words: &str| Role::of(words.replace(' ', "\0").as_bytes());
    assert_eq!(
        role("/m --root /run/lab/n1 run "),
        Some(Role::Keeper(Keeper::Guard("n1".to_owned())))
    );
    let daemon = Role::Keeper(Keeper::Daemon("n1".to_owned()));
    assert_eq!(role("mainstay daemon --root /run/lab/n1 --shared-fd 12 "), Some(daemon));
    assert_eq!(role("/m lab responder --port 7710 "), Some(Role::Responder("7710".to_owned())));
    let writes = "/m lab responder --port 7712 --stamps /run/lab/stamps/s1 ";
    assert_eq!(role(writes), Some(Role::Responder("7712".to_owned())));
    assert_eq!(role(""), None);
}

/// A real process that looks like a responder, in this machine.
#[test]
fn a_look_finds_what_runs() {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new("/bin/sh");
    // A shell that reads its program from standard input ignores what it is called and given.
    command.arg0("/m").args(["-s"]).stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let path = Path::new("/proc").join(child.id().to_string());
    let stat = fs::read_to_string(path.join("stat")).unwrap();
    let status = fs::read_to_string(path.join("status")).unwrap();
    assert!(is_running(&stat, &status), "{stat}{status}");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::STOP,
    )
    .unwrap();
    let stopped = (0..200).any(|_| {
        clock::pause(Duration::from_millis(10));
        let stat = fs::read_to_string(path.join("stat")).unwrap();
        let status = fs::read_to_string(path.join("status")).unwrap();
        !is_running(&stat, &status)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(stopped, "a stopped process does not run");
    look(Path::new("/proc")).unwrap();
}

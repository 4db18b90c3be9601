//! What the daemon's loop does when nothing happens: three real daemons on two networks, each
//! heartbeat sent and received and judged, and **no allocation, no wait for a lock, and no system call**
//! but to receive, to send, to wait and to set the timer.
//!
//! This program is the test, and the whole program around a counting allocator: called `mainstay`, it
//! is that. The system calls of a loop are counted from outside (`lab::cost`). Both counts see
//! everything, so whoever adds a call or an allocation to the loop finds out here.
//!
//! The guard is counted as well, also while it kills a service whose daemon was stopped: at that moment, a lock
//! of the allocator or a page that has to be read first may be what never comes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use lab::cost::{Calls, Counting};
use mainstay::config::files::{self, Key, Root};
use rustix::process::{Pid, Signal};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// When the test gives up waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before anything is counted: queues and free lists reach their sizes.
const WARM_UP: Duration = Duration::from_secs(4);
/// How long is counted.
const WINDOW: Duration = Duration::from_secs(6);
/// Where the machine was so busy that paths changed, nothing was steady: that is counted again.
const WINDOWS_MAX: usize = 10;
const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// The file with the allocations of the daemon's loop, and that of the guard's.
const DAEMON: &str = "allocations";
const GUARD: &str = "guard-allocations";
/// Set in the network namespace of the test.
const INSIDE: &str = "MAINSTAY_STEADY_INSIDE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments[0] == "mainstay" {
        let root = arguments.iter().position(|argument| argument == "--root");
        let root = Path::new(&arguments[root.expect("everybody says where") + 1]);
        if arguments.get(1).is_some_and(|command| command == "daemon") {
            publish_allocations(&root.join(DAEMON));
        } else if arguments.iter().any(|argument| argument == "run") {
            // The threads that end control groups, and what has left them.
            lab::cost::count_threads_named(&[c"groups", c"escaped"]);
            publish_allocations(&root.join(GUARD));
        }
        return mainstay::cli::main();
    }
    if std::env::var_os(INSIDE).is_some() {
        the_loop_does_nothing_that_it_need_not();
        return ExitCode::SUCCESS;
    }
    // As a test harness would: `cargo test NAME` is for others, and a list has this one.
    if arguments.iter().any(|argument| argument == "--list") {
        println!("the_loop_does_nothing_that_it_need_not: test");
        return ExitCode::SUCCESS;
    }
    let words = ["--net", "--", "ip", "link", "set", "lo", "up"];
    let allowed = Command::new("unshare").args(words).output();
    if !allowed.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped, no network namespaces here: {allowed:?}");
        return ExitCode::SUCCESS;
    }
    let script = "ip link set lo up && exec \"$0\"";
    let status = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", script])
        .arg(std::env::current_exe().expect("this program has a name"))
        .env(INSIDE, "1")
        .env_remove("MAINSTAY_ROOT")
        .env_remove("MAINSTAY_LAB")
        .status()
        .expect("unshare is there");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Counts this thread, which will be the loop's, and writes down where the count is to be found. A thread
/// that publishes it would not do: a guard has none.
fn publish_allocations(file: &Path) {
    let place = format!("{} {}", std::process::id(), lab::cost::count_this_thread());
    fs::write(file, place).expect("the root can be written");
}

fn allocations(root: &Path, whose: &str) -> u64 {
    let place = fs::read_to_string(root.join(whose)).expect("it is written at the start");
    let (process, address) = place.split_once(' ').expect("two numbers");
    let memory = File::open(format!("/proc/{process}/mem")).expect("it runs, and is ours");
    let mut bytes = [0; 8];
    let address = address.parse().expect("a number");
    memory.read_exact_at(&mut bytes, address).expect("the count is there");
    u64::from_ne_bytes(bytes)
}

/// What the guard of the first node has to kill: a process in its control group, and where there are such groups one
/// that has left it and its session.
struct Service {
    /// The other group.
    other: Option<PathBuf>,
    /// Where the process that leaves writes its number.
    pid: PathBuf,
}

impl Service {
    fn new(directory: &Path) -> Service {
        let other = control_groups()
            .map(|mount| mount.join(format!("steady-test-{}", std::process::id())))
            .filter(|other| fs::create_dir(other).is_ok());
        Service { other, pid: directory.join("left") }
    }

    fn configuration(&self, directory: &Path) -> String {
        let leave = self.other.as_ref().map_or(String::new(), |other| {
            let (groups, pid) = (other.join("cgroup.procs"), self.pid.display());
            let groups = groups.display();
            format!("setsid sh -c 'echo $$ >{groups}; echo $$ >{pid}; exec sleep 600' &\n")
        });
        let script = directory.join("serve");
        fs::write(&script, leave + "exec sleep 600\n").expect("temporary files can be written");
        format!(
            "[[service]]\nname = \"sleeper\"\nnodes = [\"n1\"]\n[[service.resource]]\n\
             name = \"server\"\nkind = \"process\"\ncommand = [\"/bin/sh\", \"{}\"]\n",
            script.display()
        )
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let Some(other) = &self.other else { return };
        let end = os::clock::boottime() + PATIENCE;
        // What is started again after the test has left the group, too: it ends with its guard's successor only.
        while fs::remove_dir(other).is_err() && os::clock::boottime() < end {
            let inside = fs::read_to_string(other.join("cgroup.procs")).unwrap_or_default();
            for pid in inside.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                let _gone = rustix::process::kill_process(pid, Signal::KILL);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// Where the control groups of version 2 are mounted.
fn control_groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    mount.split(' ').nth(4).map(PathBuf::from)
}

/// The nodes' guards; ended with the test, however it ends.
struct Guards(Vec<Child>);

impl Drop for Guards {
    fn drop(&mut self) {
        for guard in &mut self.0 {
            // The daemon goes with it.
            let _is_gone = guard.kill();
            let _was_ended = guard.wait();
        }
    }
}

fn program(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a name"));
    command.arg0("mainstay").arg("--root").arg(root).args(words);
    command
}

/// A network in which each node has a card and a standby, the two ends of one pair.
fn with_standbys() -> String {
    let ends: Vec<String> = (1..)
        .zip(NODES)
        .map(|(number, name): (u32, _)| {
            let (card, spare) = (format!("{name}card"), format!("{name}spare"));
            let address = format!("10.79.0.{number}/24");
            let pair = ["link", "add", &card, "type", "veth", "peer", "name", &spare];
            let words: [&[&str]; 4] = [
                &pair,
                &["link", "set", &card, "up"],
                &["link", "set", &spare, "up"],
                &["addr", "add", &address, "dev", &card],
            ];
            for words in words {
                let status = Command::new("ip").args(words).status().expect("ip is there");
                assert!(status.success(), "ip {words:?}");
            }
            format!(
                "{name} = {{ address = \"{address}\", interface = \"{card}\", \
                 standby = [\"{spare}\"] }}"
            )
        })
        .collect();
    format!("[[network]]\nname = \"net79\"\nnodes = {{ {} }}\n", ends.join(", "))
}

fn start(directory: &Path, service: &Service) -> (Vec<PathBuf>, Guards) {
    let mut text = String::from("[cluster]\nname = \"demo\"\nid = 10\ndetection = \"normal\"\n");
    for (number, name) in NODES.iter().enumerate() {
        text.push_str(&format!("[[node]]\nname = \"{name}\"\nid = {}\n", number + 1));
    }
    for net in [77, 78] {
        let ends: Vec<String> = (1..)
            .zip(NODES)
            .map(|(number, name)| {
                let address = format!("10.{net}.0.{number}/24");
                let added =
                    Command::new("ip").args(["addr", "add", &address, "dev", "lo"]).status();
                assert!(added.expect("ip is there").success(), "{address}");
                format!("{name} = \"{address}\"")
            })
            .collect();
        let nodes = ends.join(", ");
        text.push_str(&format!("[[network]]\nname = \"net{net}\"\nnodes = {{ {nodes} }}\n"));
    }
    text.push_str(&with_standbys());
    text.push_str(&service.configuration(directory));
    let mut guards = Guards(Vec::new());
    let roots: Vec<PathBuf> = NODES.iter().map(|name| directory.join(name)).collect();
    for (root, name) in roots.iter().zip(NODES) {
        fs::create_dir(root).expect("temporary files can be written");
        files::create(&Root::new(root), &text, &Key([7; 32]), name).expect("a new node");
        let log = File::create(root.join("log")).expect("temporary files can be written");
        let mut guard = program(root, &["run"]);
        let guard = guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        guards.0.push(guard.expect("this program starts"));
    }
    (roots, guards)
}

fn wait_for_members(roots: &[PathBuf]) {
    let end = os::clock::boottime() + PATIENCE;
    for root in roots {
        let is_member =
            || program(root, &["membership"]).output().expect("it starts").status.success();
        while !is_member() {
            let log = fs::read_to_string(root.join("log")).unwrap_or_default();
            assert!(os::clock::boottime() < end, "{} is in no view:\n{log}", root.display());
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// The daemon below a guard: its only child.
fn daemon_of(guard: &Child) -> i32 {
    let id = guard.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.expect("the guard lives");
    children.split_whitespace().next().expect("it has a daemon").parse().expect("a number")
}

fn the_loop_does_nothing_that_it_need_not() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let service = Service::new(directory.path());
    let (roots, guards) = start(directory.path(), &service);
    wait_for_members(&roots);
    std::thread::park_timeout(WARM_UP);
    for (root, guard) in roots.iter().zip(&guards.0) {
        let log = || fs::read_to_string(root.join("log")).unwrap_or_default();
        let count = || {
            let (said, before) = (log().len(), allocations(root, DAEMON));
            assert!(before > 100, "the count is not blind: starting takes allocations: {before}");
            let guarded = allocations(root, GUARD);
            let calls = lab::cost::trace(daemon_of(guard), WINDOW);
            let calls = calls.expect("an own child can be traced");
            let allocated = allocations(root, DAEMON) - before;
            let of_the_guard = allocations(root, GUARD) - guarded;
            (log().len() == said).then_some((calls, allocated, of_the_guard))
        };
        let steady = (0..WINDOWS_MAX).find_map(|_| count());
        let (calls, allocated, of_the_guard) =
            steady.unwrap_or_else(|| panic!("never steady:\n{}", log()));
        check(&calls, allocated, &log());
        assert_eq!(of_the_guard, 0, "allocations of a steady guard:\n{}", log());
    }
    // And it sees what is not steady: an answer to somebody who asks takes allocations and calls.
    let before = allocations(&roots[0], DAEMON);
    let status = program(&roots[0], &["status"]).output().expect("it starts");
    assert!(allocations(&roots[0], DAEMON) > before, "{status:?}");
    the_guard_kills_without_an_allocation(&roots[0], &guards.0[0], &service);
    println!("test the_loop_does_nothing_that_it_need_not ... ok");
}

fn the_guard_kills_without_an_allocation(root: &Path, guard: &Child, service: &Service) {
    let log = || fs::read_to_string(root.join("log")).unwrap_or_default();
    assert!(!log().contains("sleeper: its deadline is over"), "{}", log());
    let before = allocations(root, GUARD);
    assert!(before > 100, "the count is not blind: starting takes allocations: {before}");
    assert_eq!(service.pid.exists(), service.other.is_some(), "who can leave has left");
    let daemon = Pid::from_raw(daemon_of(guard)).expect("it is a process");
    rustix::process::kill_process(daemon, Signal::STOP).expect("it is ours");
    let end = os::clock::boottime() + PATIENCE;
    while !log().contains("sleeper: nothing left of it") {
        assert!(os::clock::boottime() < end, "the guard killed nothing:\n{}", log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let left = log().contains("killed 1 processes that had left the control groups");
    assert_eq!(left, service.other.is_some(), "{}", log());
    let allocated = allocations(root, GUARD) - before;
    assert_eq!(allocated, 0, "allocations of a guard that kills:\n{}", log());
    rustix::process::kill_process(daemon, Signal::CONT).expect("it is ours");
}

fn check(trace: &lab::cost::Trace, allocated: u64, log: &str) {
    let of = |number: i64| trace.get(&number).copied().unwrap_or_default();
    let received = of(number::RECVMMSG);
    let sent = of(number::SENDTO);
    let waited = number::WAITS.iter().map(|number| of(*number).count).sum::<u64>();
    let set = of(number::TIMERFD_SETTIME);
    println!(
        "{} datagrams in {} receives, {} sends, {waited} waits, {} timers, {allocated} allocations",
        received.returned, received.count, sent.count, set.count
    );
    let known = [number::RECVMMSG, number::SENDTO, number::TIMERFD_SETTIME];
    let others: Vec<(&i64, &Calls)> = trace
        .iter()
        .filter(|(number, _)| !known.contains(number) && !number::WAITS.contains(number))
        .collect();
    assert!(others.is_empty(), "calls that a steady loop does not need: {others:?}\n{log}");
    assert_eq!(allocated, 0, "allocations in a steady loop\n{log}");
    // Two peers, two networks, 200 ms: some twenty each way in a second.
    assert!(sent.count > 60 && received.returned > 60, "{trace:?}\n{log}");
    assert_eq!((sent.failed, received.failed), (0, 0), "calls for nothing: {trace:?}");
    assert!(received.count <= received.returned, "at most one receive for a heartbeat: {trace:?}");
    // A wait ends with something to read or with the timer, which is set anew once.
    assert!(waited <= received.count + set.count + 2, "{trace:?}");
    assert!(set.count <= waited + 1, "{trace:?}");
}

/// Numbers of system calls (asm/unistd_64.h, asm-generic/unistd.h).
mod number {
    #[cfg(target_arch = "x86_64")]
    mod machine {
        pub(crate) const RECVMMSG: i64 = 299;
        pub(crate) const SENDTO: i64 = 44;
        pub(crate) const TIMERFD_SETTIME: i64 = 286;
        /// epoll_wait, epoll_pwait, epoll_pwait2.
        pub(crate) const WAITS: [i64; 3] = [232, 281, 441];
    }
    #[cfg(not(target_arch = "x86_64"))]
    mod machine {
        pub(crate) const RECVMMSG: i64 = 243;
        pub(crate) const SENDTO: i64 = 206;
        pub(crate) const TIMERFD_SETTIME: i64 = 86;
        /// epoll_pwait, epoll_pwait2.
        pub(crate) const WAITS: [i64; 2] = [22, 441];
    }
    pub(crate) use machine::*;
}

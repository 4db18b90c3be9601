//! The guard with a real kernel and a daemon made for the test.
//!
//! This program has no test harness around it, because it is three programs: the test, the guard that
//! the test starts (`guard DIR`), and the daemon that the guard starts (`daemon DIR --shared-fd N`).
//! They speak through files in `DIR`. Nothing here asserts a duration: what must not happen *before* a
//! deadline is compared with the deadline itself, and what must happen is waited for with a generous
//! limit that only tells a failure from a hang.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use base::{Incarnation, Instant};
use mainstay::guard;
use os::event::{Events, Interest, Poll, Timer, Token};
use os::netlink::Netlink;
use os::process::{Containment, Output, Process, Program, SpawnError};
use os::shared::{DaemonSide, Description, Goodbye, HeldAddress, HeldProcess, Slot};
use os::signal::{Signal, Signals};
use rustix::process as unix;

#[path = "guard/network.rs"]
mod network;
#[path = "guard/storage.rs"]
mod storage;

/// How far ahead the daemon of these tests pushes its deadline.
const LEASE: Duration = Duration::from_secs(1);
/// When a test gives up waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// The address that the service has in those tests that run in a network namespace of their own.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));
/// The loopback interface is number 1 in every network namespace.
const LOOPBACK: u32 = 1;
/// A user without any right.
const NOBODY: &str = "65534";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("guard") => run_guard(Path::new(&arguments[2])),
        Some("daemon") => {
            assert_eq!(arguments[3], "--shared-fd");
            run_daemon(Path::new(&arguments[2]), arguments[4].parse().expect("a number"));
            ExitCode::SUCCESS
        }
        _ => run_tests(arguments.iter().skip(1).find(|argument| !argument.starts_with('-'))),
    }
}

// ---------------------------------------------------------------------------------------------
// The guard and the daemon
// ---------------------------------------------------------------------------------------------

fn tree(directory: &Path) -> String {
    os::cgroup::tree_name("guard-test", "n1", directory).expect("the directory exists")
}

fn run_guard(directory: &Path) -> ExitCode {
    let options = guard::Options {
        program: PathBuf::from("/proc/self/exe"),
        arguments: vec!["test-daemon".into(), "daemon".into(), directory.into()],
        tree: tree(directory),
        lock: directory.join("lock"),
        armed: directory.join("watchdog"),
        // Without any the guard leaves the interfaces of this machine alone.
        addresses: has(directory, "address").then_some(ADDRESS).into_iter().collect(),
        release_budget: Duration::from_secs(5),
        // Used up only by a daemon that does not leave.
        leave_budget: match has(directory, "stubborn") {
            true => Duration::from_millis(500),
            false => PATIENCE / 2,
        },
    };
    guard::run(&options).unwrap_or_else(|error| {
        eprintln!("guard: {error:#}");
        ExitCode::from(99)
    })
}

fn note(directory: &Path, line: &str) {
    let mut journal =
        fs::OpenOptions::new().append(true).create(true).open(directory.join("journal")).unwrap();
    journal.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn has(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

fn run_daemon(directory: &Path, number: i32) {
    let signals = Signals::block(&[Signal::Terminate]).unwrap();
    let mut shared = guard::attach(number).expect("started by the guard");
    let containment = Containment::open(&tree(directory));
    let status = shared.guard();
    let weak = status.promises.weaknesses().len();
    note(
        directory,
        &format!(
            "start pid={} restarts={} exit={} leftovers={} weak={weak} contained={}",
            std::process::id(),
            status.restarts,
            status.last_exit.map_or("none".to_owned(), |exit| exit.to_string()),
            status.leftovers,
            u8::from(matches!(containment, Containment::Groups(_))),
        ),
    );
    if has(directory, "refuse") {
        std::process::exit(64);
    }
    shared.set_incarnation(Incarnation(status.restarts + 1));
    let first = shared.entries().is_empty();
    if first && !has(directory, "idle") {
        start_service(directory, &mut shared, &containment);
    }
    if has(directory, "crash") {
        std::process::exit(3);
    }
    for entry in shared.entries().iter().filter(|_| !first) {
        assert_eq!(entry.description.service, "web");
        for held in &entry.description.processes {
            let adopted = Process::adopt(held.pid, held.started).unwrap();
            note(directory, &format!("adopted pid={} alive={}", held.pid, adopted.is_some()));
        }
    }

    storage::ask(directory, &mut shared);
    let poll = Poll::new().unwrap();
    let timer = Timer::new().unwrap();
    poll.add(&signals, Token(0), Interest::Read).unwrap();
    poll.add(&timer, Token(1), Interest::Read).unwrap();
    let mut events = Events::with_capacity(4);
    let mut told = false;
    loop {
        let now = os::clock::boottime();
        for entry in shared.entries() {
            let deadline = now + LEASE;
            if shared.push(entry.slot, deadline) {
                let new = directory.join("deadline.new");
                fs::write(&new, deadline.as_nanos().to_string()).unwrap();
                fs::rename(&new, directory.join("deadline")).unwrap();
            } else if let Some(killed) = shared.killed(entry.slot).filter(|_| !told) {
                note(directory, &format!("killed at={}", killed.at.as_nanos()));
                told = true;
                if has(directory, "late") {
                    start_late(directory, &shared, &containment, entry.slot);
                }
            }
        }
        timer.set(Some(now + Duration::from_millis(20)));
        poll.wait(&mut events, None).unwrap();
        timer.take();
        if signals.take().is_some() && !has(directory, "stubborn") {
            leave(&mut shared, &containment);
            note(directory, "left");
            return;
        }
    }
}

/// What a daemon does that was stopped in the middle of a start.
fn start_late(directory: &Path, shared: &DaemonSide, containment: &Containment, slot: Slot) {
    let command = ["sleep", "1000"].map(str::to_owned);
    let program = Program {
        command: &command,
        directory: None,
        environment: &[],
        user: None,
        output: Output::Inherit,
    };
    let refused = containment.spawn_permitted("web", "server", &program, &shared.permit(slot));
    assert!(matches!(refused, Err(SpawnError::NotPermitted)), "{refused:?}");
    assert!(containment.is_empty("web", None).unwrap());
    note(directory, "refused ");
    // Nobody asks here: the worst that can happen.
    let process = containment.spawn("web", "server", &program).unwrap();
    Netlink::open().unwrap().refresh_address(LOOPBACK, ADDRESS, 32, None).unwrap();
    note(directory, &format!("late pid={}", process.pid()));
    wait_for("the guard", || process.exit().unwrap());
    note(directory, "ended ");
}

fn start_service(directory: &Path, shared: &mut DaemonSide, containment: &Containment) {
    let address = HeldAddress { interface: LOOPBACK, address: ADDRESS, prefix: 32 };
    let with_address = has(directory, "address");
    let mut description = Description {
        service: "web".to_owned(),
        group: containment.group_path("web"),
        addresses: if with_address { vec![address] } else { Vec::new() },
        processes: Vec::new(),
        storage: has(directory, "storage"),
    };
    let slot = shared.register(&description, os::clock::boottime() + LEASE).unwrap();
    if with_address {
        Netlink::open().unwrap().add_address(LOOPBACK, ADDRESS, 32, None).unwrap();
    }
    // The first process, and one that leaves its session.
    let script = "setsid sleep 1000 & exec sleep 1000";
    let command = ["/bin/sh", "-c", script].map(str::to_owned);
    let program = Program {
        command: &command,
        directory: None,
        environment: &[],
        user: None,
        output: Output::Inherit,
    };
    let process = containment.spawn("web", "server", &program).unwrap();
    let held = HeldProcess {
        resource: "server".to_owned(),
        pid: process.pid(),
        started: process.started(),
    };
    description.processes.push(held);
    shared.describe(slot, &description).unwrap();
    if let Ok(port) = fs::read_to_string(directory.join("port")) {
        let here = |port| (Ipv4Addr::LOCALHOST, port).into();
        let goodbye = Goodbye {
            source: here(0),
            destination: here(port.parse().unwrap()),
            frame: b"sealed goodbye".to_vec(),
        };
        shared.set_goodbyes(Incarnation(1), &[goodbye]).unwrap();
    }
    note(directory, &format!("service pid={}", process.pid()));
}

fn leave(shared: &mut DaemonSide, containment: &Containment) {
    for entry in shared.entries() {
        let service = &entry.description.service;
        containment.kill(service, None).unwrap();
        wait_for("an empty service", || containment.is_empty(service, None).unwrap().then_some(()));
        let mut netlink = Netlink::open().unwrap();
        for held in &entry.description.addresses {
            netlink.remove_address(held.interface, held.address, held.prefix).unwrap();
        }
        shared.release(entry.slot);
    }
}

// ---------------------------------------------------------------------------------------------
// The test's tools
// ---------------------------------------------------------------------------------------------

fn pause() {
    let poll = Poll::new().unwrap();
    poll.wait(&mut Events::with_capacity(1), Some(Duration::from_millis(5))).unwrap();
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = os::clock::boottime() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(os::clock::boottime() < until, "gave up waiting for {what}");
        pause();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// This machine's own network, all rights that the test has.
    Here,
    /// A network namespace.
    Network,
    /// The same, with programs that change it; and the kernel lets this user judge packets.
    Gate,
    /// A network namespace; and a debugger may hold single threads.
    Held,
    /// A user and a network namespace, as a user without any right outside.
    Powerless,
}

struct Scene {
    directory: tempfile::TempDir,
    guard: Child,
    containment: Containment,
}

impl Scene {
    fn new(place: Place, files: &[(&str, &str)]) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        if place == Place::Powerless {
            std::os::unix::fs::chown(directory.path(), Some(65_534), Some(65_534)).unwrap();
        }
        let guard = Scene::start(place, directory.path());
        let name = tree(directory.path());
        let containment = if place == Place::Powerless {
            Containment::Marked { tree: name, refusal: 0 }
        } else {
            Containment::open(&name)
        };
        Scene { directory, guard, containment }
    }

    fn start(place: Place, directory: &Path) -> Child {
        let own = std::env::current_exe().unwrap();
        let mut words: Vec<&str> = match place {
            Place::Here => vec![],
            Place::Network | Place::Gate | Place::Held => vec!["unshare", "--net", "--"],
            Place::Powerless => vec![
                "setpriv",
                "--reuid",
                NOBODY,
                "--regid",
                NOBODY,
                "--clear-groups",
                "--",
                "unshare",
                "--user",
                "--map-root-user",
                "--net",
                "--",
            ],
        };
        let (own, path) = (own.to_str().unwrap(), directory.to_str().unwrap());
        words.extend([own, "guard", path]);
        Scene::spawn(&words, directory, Stdio::null())
    }

    /// A guard in a network namespace that is there already.
    fn start_in(namespace: fs::File, directory: &Path) -> Child {
        let own = std::env::current_exe().unwrap();
        let (own, path) = (own.to_str().unwrap(), directory.to_str().unwrap());
        let words = ["nsenter", "--net=/proc/self/fd/0", "--", own, "guard", path];
        Scene::spawn(&words, directory, Stdio::from(namespace))
    }

    fn spawn(words: &[&str], directory: &Path, stdin: Stdio) -> Child {
        let log = fs::OpenOptions::new().append(true).create(true).open(directory.join("log"));
        Command::new(words[0])
            .args(&words[1..])
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path().join("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for the line number `count` (from 1) that begins with `word`; returns its values.
    fn line(&self, word: &str, count: usize) -> Line {
        let beginning = format!("{word} ");
        let found = wait_for(&format!("line {count} of '{word}'"), || {
            self.journal().into_iter().filter(|line| line.starts_with(&beginning)).nth(count - 1)
        });
        Line(found)
    }

    fn pids(&self) -> Vec<u32> {
        self.containment.pids("web", None).unwrap()
    }

    fn has_address(&self) -> bool {
        let routes = format!("/proc/{}/net/fib_trie", self.guard.id());
        fs::read_to_string(routes).unwrap().contains(&ADDRESS.to_string())
    }

    /// The deadline that the daemon pushed last.
    fn deadline(&self) -> Instant {
        let text = fs::read_to_string(self.path().join("deadline")).unwrap();
        Instant::from_nanos(text.parse().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn wait_guard(&mut self) -> i32 {
        let guard = &mut self.guard;
        wait_for("the end of the guard", || guard.try_wait().unwrap())
            .code()
            .expect("the guard ends by itself")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- journal\n{}\n--- guard\n{}", self.journal().join("\n"), self.log());
        }
        if self.guard.try_wait().is_ok_and(|status| status.is_none()) {
            let _gone = self.guard.kill();
            let _status = self.guard.wait();
        }
        for line in self.journal().iter().filter(|line| line.starts_with("start ")) {
            let pid = Line(line.clone()).number("pid");
            if fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|command| command.contains(self.path().to_str().unwrap()))
            {
                signal(unix::Signal::KILL, pid);
            }
        }
        let _killed = self.containment.kill_all();
        let until = os::clock::boottime() + PATIENCE;
        while !self.containment.nothing_left().unwrap_or(true) && os::clock::boottime() < until {
            pause();
        }
        let _removed = self.containment.remove_all();
        if let Containment::Groups(tree) = &self.containment {
            let _removed = tree.all().remove();
        }
    }
}

struct Line(String);

impl Line {
    fn text(&self, name: &str) -> &str {
        let beginning = format!("{name}=");
        let mut words = self.0.split(' ');
        words.find_map(|word| word.strip_prefix(&beginning)).expect("the line has the value")
    }

    fn number(&self, name: &str) -> u32 {
        self.text(name).parse().expect("a number")
    }
}

fn signal(signal: unix::Signal, pid: u32) {
    let pid = unix::Pid::from_raw(pid.cast_signed()).expect("a process has a number");
    unix::kill_process(pid, signal).expect("it takes the signal");
}

// ---------------------------------------------------------------------------------------------
// The tests
// ---------------------------------------------------------------------------------------------

/// How many files a process may have open, by default and at most.
fn open_files(process: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned()
}

/// SIGKILL to the daemon: another one comes, and the service does not notice.
fn killed_daemon_comes_back(place: Place) {
    let scene = Scene::new(place, &[("address", "")]);
    let service = scene.line("service", 1).number("pid");
    let first = scene.line("start", 1);
    assert_eq!(first.text("exit"), "none");
    let mut daemon = first.number("pid");
    // The guard gives itself more, and nobody whom it starts.
    assert_eq!(open_files(&daemon.to_string()), open_files("self"), "of the daemon");
    assert_eq!(open_files(&service.to_string()), open_files("self"), "of the service");
    wait_for("a pushed deadline", || has(scene.path(), "deadline").then_some(()));
    for restart in 1..=3 {
        signal(unix::Signal::KILL, daemon);
        let next = scene.line("start", restart + 1);
        let before = scene.deadline();
        assert_ne!(next.number("pid"), daemon);
        assert_eq!(next.number("restarts") as usize, restart);
        assert_eq!(next.text("exit"), "9", "wait(2) says: ended by signal 9");
        let adopted = scene.line("adopted", restart);
        assert_eq!((adopted.number("pid"), adopted.text("alive")), (service, "true"));
        // Each daemon pushes before it is killed: the lease is for one restart, not for three.
        wait_for("a push of this daemon", || (scene.deadline() > before).then_some(()));
        daemon = next.number("pid");
    }
    assert!(scene.pids().contains(&service), "the service is the one that was started first");
    assert!(scene.has_address());
    assert!(!scene.journal().iter().any(|line| line.starts_with("killed")));
}

/// SIGSTOP to the daemon: it is not dead, nothing happens until the deadline, and then the service
/// and its address go.
fn stopped_daemon_loses_its_services(place: Place) {
    let scene = Scene::new(place, &[("address", "")]);
    let service = scene.line("service", 1).number("pid");
    let daemon = scene.line("start", 1).number("pid");
    wait_for("a pushed deadline", || has(scene.path(), "deadline").then_some(()));
    wait_for("both processes", || (scene.pids().len() >= 2).then_some(()));
    assert!(scene.has_address());
    signal(unix::Signal::STOP, daemon);
    wait_for("the daemon to be stopped", || {
        let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
        status.contains("State:\tT").then_some(())
    });
    let deadline = scene.deadline();
    wait_for("the end of the service", || scene.pids().is_empty().then_some(()));
    assert!(os::clock::boottime() >= deadline, "it was ended before its deadline");
    wait_for("the end of the address", || (!scene.has_address()).then_some(()));
    assert!(is_gone(service));
    signal(unix::Signal::CONT, daemon);
    let killed = scene.line("killed", 1);
    let at = Instant::from_nanos(killed.text("at").parse().unwrap());
    assert!(at >= deadline, "killed at {at}, allowed until {deadline}");
    assert_eq!(scene.journal().iter().filter(|line| line.starts_with("start ")).count(), 1);
}

/// A daemon that goes on after the end of its service: it cannot start it again, and if it does all
/// the same, that is ended too.
fn late_start_is_ended(place: Place) {
    let scene = Scene::new(place, &[("address", ""), ("late", "")]);
    scene.line("service", 1);
    let daemon = scene.line("start", 1).number("pid");
    wait_for("a pushed deadline", || has(scene.path(), "deadline").then_some(()));
    signal(unix::Signal::STOP, daemon);
    wait_for("the guard's work", || scene.log().contains("nothing left of it").then_some(()));
    signal(unix::Signal::CONT, daemon);
    scene.line("refused", 1);
    scene.line("late", 1);
    scene.line("ended", 1);
    wait_for("the end of the address", || (!scene.has_address()).then_some(()));
    assert!(scene.pids().is_empty());
    wait_for("the guard's word", || scene.log().contains("came back after its end").then_some(()));
}

fn is_gone(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    status.map_or(true, |status| status.contains("State:\tZ"))
}

/// A daemon that dies at every start: the service ends at its deadline, and then, not before, the
/// peers are told.
fn goodbye_when_nothing_runs() {
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = peer.local_addr().unwrap().port().to_string();
    let scene = Scene::new(Place::Here, &[("crash", ""), ("port", &port)]);
    let mut frame = [0_u8; 100];
    // Sealed by the first life; the later ones die before they get so far.
    let (length, _) = peer.recv_from(&mut frame).expect("a goodbye");
    assert_eq!(&frame[..length], b"sealed goodbye");
    assert!(scene.pids().is_empty(), "goodbye was said while processes were there");
    assert!(scene.line("start", 6).number("restarts") >= 5);
}

/// SIGTERM: the daemon leaves in order, nothing has to be killed.
fn leaves_in_order() {
    let mut scene = Scene::new(Place::Network, &[("address", "")]);
    scene.line("service", 1);
    wait_for("a pushed deadline", || has(scene.path(), "deadline").then_some(()));
    signal(unix::Signal::TERM, scene.guard.id());
    assert_eq!(scene.wait_guard(), 0, "{}", scene.log());
    assert_eq!(scene.journal().last().map(String::as_str), Some("left"));
    assert!(scene.pids().is_empty());
    if let Containment::Groups(groups) = &scene.containment {
        assert!(!groups.path().exists(), "the control groups stayed behind");
    }
}

/// A daemon that says that its configuration is wrong is not started again, and the guard ends with
/// its code.
fn unusable_configuration_is_said_once() {
    let mut scene = Scene::new(Place::Network, &[("refuse", "")]);
    assert_eq!(scene.wait_guard(), 64, "{}", scene.log());
    assert_eq!(scene.journal().iter().filter(|line| line.starts_with("start ")).count(), 1);
    assert_eq!(scene.log().matches("cannot use its configuration").count(), 1, "{}", scene.log());
}

/// The same after a crash, when services run: they keep the rest of their lease, then it ends.
fn unusable_configuration_ends_at_the_deadline(place: Place) {
    let mut scene = Scene::new(place, &[("address", "")]);
    scene.line("service", 1);
    let daemon = scene.line("start", 1).number("pid");
    wait_for("a pushed deadline", || has(scene.path(), "deadline").then_some(()));
    fs::write(scene.path().join("refuse"), "").unwrap();
    signal(unix::Signal::KILL, daemon);
    assert_eq!(scene.wait_guard(), 64, "{}", scene.log());
    assert!(os::clock::boottime() >= scene.deadline(), "it was ended before its deadline");
    assert!(scene.pids().is_empty());
    assert_eq!(scene.journal().iter().filter(|line| line.starts_with("start ")).count(), 2);
}

/// SIGTERM with a daemon that does not leave: everything ends all the same, and the code says so.
fn ends_what_does_not_leave() {
    let mut scene = Scene::new(Place::Network, &[("address", ""), ("stubborn", "")]);
    let daemon = scene.line("start", 1).number("pid");
    scene.line("service", 1);
    wait_for("a pushed deadline", || has(scene.path(), "deadline").then_some(()));
    signal(unix::Signal::TERM, scene.guard.id());
    assert_eq!(scene.wait_guard(), 1, "{}", scene.log());
    assert!(scene.pids().is_empty());
    assert!(!fs::exists(format!("/proc/{daemon}")).unwrap());
}

/// Guard and daemon killed: the next guard ends what they left before it starts a daemon; before
/// that, a second guard is refused, and the next one waits for the daemon: it has the lock as well.
fn next_guard_ends_leftovers(place: Place) {
    let mut scene = Scene::new(place, &[]);
    let service = scene.line("service", 1).number("pid");
    let daemon = scene.line("start", 1).number("pid");
    let mut second = Scene::start(place, scene.path());
    assert_eq!(second.wait().unwrap().code(), Some(99));
    assert!(scene.log().contains("another mainstay runs on this node"), "{}", scene.log());
    assert!(scene.pids().contains(&service), "the refused guard touched nothing");

    scene.guard.kill().unwrap();
    scene.guard.wait().unwrap();
    fs::write(scene.path().join("idle"), "").unwrap();
    scene.guard = Scene::start(place, scene.path());
    wait_for("a wait", || (scene.log().matches("; waiting up").count() == 2).then_some(()));
    assert!(scene.pids().contains(&service), "nobody is there to end it");
    signal(unix::Signal::KILL, daemon);
    let start = scene.line("start", 2);
    assert!(start.number("leftovers") >= 1);
    assert!(scene.pids().is_empty());
    assert!(is_gone(service));
}

/// A guard was killed, and its daemon is stopped: it would never leave, so the next guard ends it. One that has its
/// guard is left alone.
fn next_guard_ends_a_stopped_daemon(place: Place) {
    let mut scene = Scene::new(place, &[]);
    let service = scene.line("service", 1).number("pid");
    let daemon = scene.line("start", 1).number("pid");
    signal(unix::Signal::STOP, daemon);
    let mut second = Scene::start(place, scene.path());
    assert_eq!(second.wait().unwrap().code(), Some(99));
    assert!(!is_gone(daemon), "it has its guard");
    scene.guard.kill().unwrap();
    scene.guard.wait().unwrap();
    fs::write(scene.path().join("idle"), "").unwrap();
    scene.guard = Scene::start(place, scene.path());
    scene.line("start", 2);
    assert!(is_gone(daemon) && is_gone(service));
    let said = format!("process {daemon}, is stopped: it was ended");
    assert!(scene.log().contains(&said), "{}", scene.log());
}

/// Without control groups and the real-time class the daemon can read that, and people can.
fn powerless_says_so() {
    let scene = Scene::new(Place::Powerless, &[("idle", "")]);
    let start = scene.line("start", 1);
    assert_eq!(start.text("contained"), "0");
    assert!(start.number("weak") >= 2, "no control groups and no real-time class");
    assert!(scene.log().contains("no control groups here"), "{}", scene.log());
    assert!(scene.log().contains("no programs"), "the gate is another one: {}", scene.log());
}

/// What the kernel must allow for a test, tried for real.
fn refusal(place: Place) -> Option<String> {
    let words: &[&str] = match place {
        Place::Here => return None,
        Place::Network => &["unshare", "--net", "--", "true"],
        Place::Held => &["unshare", "--net", "--", "python3", "-c", "import ctypes"],
        Place::Gate => &[
            "unshare",
            "--net",
            "--",
            "sh",
            "-c",
            "ip link add b0 type bridge && tc qdisc add dev b0 clsact && nsenter --version",
        ],
        Place::Powerless => &[
            "setpriv",
            "--reuid",
            NOBODY,
            "--regid",
            NOBODY,
            "--clear-groups",
            "--",
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            "--",
            "true",
        ],
    };
    let output = Command::new(words[0]).args(&words[1..]).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("{}: {error}", words[0])),
    }
}

fn run_tests(filter: Option<&String>) -> ExitCode {
    type Test = (&'static str, Place, fn(Place));
    let tests: [Test; 19] = [
        ("killed_daemon_comes_back", Place::Network, killed_daemon_comes_back),
        ("killed_daemon_comes_back_powerless", Place::Powerless, killed_daemon_comes_back),
        ("stopped_daemon_loses_its_services", Place::Network, stopped_daemon_loses_its_services),
        (
            "stopped_daemon_loses_its_services_powerless",
            Place::Powerless,
            stopped_daemon_loses_its_services,
        ),
        ("late_start_is_ended", Place::Network, late_start_is_ended),
        ("late_start_is_ended_powerless", Place::Powerless, late_start_is_ended),
        ("goodbye_when_nothing_runs", Place::Here, |_| goodbye_when_nothing_runs()),
        ("leaves_in_order", Place::Network, |_| leaves_in_order()),
        ("ends_what_does_not_leave", Place::Network, |_| ends_what_does_not_leave()),
        ("next_guard_ends_leftovers", Place::Here, next_guard_ends_leftovers),
        ("next_guard_ends_a_stopped_daemon", Place::Here, next_guard_ends_a_stopped_daemon),
        ("unusable_configuration_is_said_once", Place::Network, |_| {
            unusable_configuration_is_said_once();
        }),
        (
            "unusable_configuration_ends_at_the_deadline",
            Place::Network,
            unusable_configuration_ends_at_the_deadline,
        ),
        (
            "unusable_configuration_ends_at_the_deadline_powerless",
            Place::Powerless,
            unusable_configuration_ends_at_the_deadline,
        ),
        ("next_guard_removes_addresses", Place::Network, |_| {
            network::next_guard_removes_addresses()
        }),
        ("powerless_says_so", Place::Powerless, |_| powerless_says_so()),
        ("gate_is_kept_by_the_guard", Place::Gate, |_| network::gate_is_kept_by_the_guard()),
        ("storage_and_its_watchdog", Place::Here, |_| storage::tests()),
        ("a_hanging_network_delays_no_kill", Place::Held, |_| {
            network::a_hanging_network_delays_no_kill()
        }),
    ];
    for (name, place, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        if let Some(refusal) = refusal(place) {
            println!("test {name} ... skipped, the kernel forbids it here: {refusal}");
            continue;
        }
        // A panic ends the process with a code that is not 0: the profile has no unwinding.
        test(place);
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

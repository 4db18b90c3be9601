//! What the guard does to the network: the gate, addresses that were left, and a network that hangs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process as unix;

use super::{ADDRESS, Place, Scene, has, is_gone, signal, wait_for};

/// Guard and daemon killed, and an address left: the next guard removes it, whatever the daemon will
/// say (this one refuses its configuration).
pub(super) fn next_guard_removes_addresses() {
    let mut scene = Scene::new(Place::Network, &[("address", "")]);
    let service = scene.line("service", 1).number("pid");
    let daemon = scene.line("start", 1).number("pid");
    assert!(scene.has_address());
    // The service's process keeps the network namespace.
    scene.guard.kill().unwrap();
    scene.guard.wait().unwrap();
    signal(unix::Signal::KILL, daemon);
    wait_for("the daemon's end", || is_gone(daemon).then_some(())); // it has the lock as well
    let namespace = fs::File::open(format!("/proc/{service}/ns/net")).unwrap();
    let table = fs::read_to_string(format!("/proc/{service}/net/fib_trie")).unwrap();
    assert!(table.contains(&ADDRESS.to_string()), "nobody is there to remove it");
    fs::write(scene.path().join("refuse"), "").unwrap();
    scene.guard = Scene::start_in(namespace, scene.path());
    assert_eq!(scene.wait_guard(), 64, "{}", scene.log());
    let said = format!("removed {ADDRESS} from lo");
    assert!(scene.log().contains(&said), "{}", scene.log());
    assert!(scene.pids().is_empty());
}

/// Runs a program in the network namespace of the guard; what it wrote.
fn in_network_of(scene: &Scene, words: &[&str]) -> String {
    let network = format!("--net=/proc/{}/ns/net", scene.guard.id());
    let output = Command::new("nsenter").arg(network).arg("--").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The gate comes to a new interface, comes back when somebody takes it away, and goes with the guard.
pub(super) fn gate_is_kept_by_the_guard() {
    let mut scene = Scene::new(Place::Network, &[("address", "")]);
    scene.line("start", 1);
    let namespace = fs::File::open(format!("/proc/{}/ns/net", scene.guard.id())).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    let gated = |scene: &Scene, way: &str| {
        in_network_of(scene, &["tc", "filter", "show", "dev", "other0", way])
            .matches("handle")
            .count()
    };
    in_network_of(&scene, &["ip", "link", "add", "other0", "type", "bridge"]);
    for what in ["a new interface", "somebody took it away"] {
        wait_for(what, || (gated(&scene, "ingress") == 1).then_some(()));
        wait_for(what, || (gated(&scene, "egress") == 1).then_some(()));
        in_network_of(&scene, &["tc", "qdisc", "del", "dev", "other0", "clsact"]);
    }
    wait_for("the gate", || (gated(&scene, "egress") == 1).then_some(()));
    signal(unix::Signal::TERM, scene.guard.id());
    assert_eq!(scene.wait_guard(), 0, "{}", scene.log());
    let shown = Command::new("nsenter")
        .arg(format!("--net={path}"))
        .args(["--", "tc", "qdisc", "show", "dev", "other0"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("clsact"), "{shown:?}");
}

/// Holds the thread with the number of its argument until its standard input ends: PTRACE_SEIZE and
/// PTRACE_INTERRUPT of ptrace(2), which stop one thread and not its process.
const HOLD: &str = "
import ctypes, os, sys
thread = int(sys.argv[1])
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p]
for request in 0x4206, 0x4207:
    assert ptrace(request, thread, None, None) == 0, os.strerror(ctypes.get_errno())
os.waitpid(thread, 0x40000000)
print('held', flush=True)
sys.stdin.read()
";

/// What waits for the network is held, as by a driver that hangs with the kernel's lock: processes die at
/// their deadline all the same. The address goes when the network is back.
pub(super) fn a_hanging_network_delays_no_kill() {
    let scene = Scene::new(Place::Held, &[("address", "")]);
    let daemon = scene.line("start", 1).number("pid");
    scene.line("service", 1);
    wait_for("a pushed deadline", || has(scene.path(), "deadline").then_some(()));
    wait_for("both processes", || (scene.pids().len() >= 2).then_some(()));
    let threads = fs::read_dir(format!("/proc/{}/task", scene.guard.id())).unwrap();
    let is_it = |path: &PathBuf| fs::read_to_string(path.join("comm")).unwrap() == "network\n";
    let thread = threads.map(|entry| entry.unwrap().path()).find(is_it).expect("its thread");
    let mut holder = Command::new("python3")
        .args(["-c", HOLD, thread.file_name().unwrap().to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "held\n");
    signal(unix::Signal::STOP, daemon);
    wait_for("the end of the service", || scene.pids().is_empty().then_some(()));
    assert!(scene.has_address(), "nobody removes it now");
    assert!(!scene.log().contains("nothing left"), "{}", scene.log());
    // Its end releases the thread.
    drop(holder.stdin.take());
    holder.wait().unwrap();
    wait_for("the end of the address", || (!scene.has_address()).then_some(()));
    wait_for("the guard's word of it", || scene.log().contains("nothing left").then_some(()));
    signal(unix::Signal::CONT, daemon);
}

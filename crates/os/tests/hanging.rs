//! A process that never says whose it is holds up neither a signal nor a start, and nothing counts as gone before
//! it does. It has a program to itself: whoever looks at processes beside it would meet it as well.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use os::cgroup::{Tree, tree_name};
use os::mount::Found;
use os::process::{Containment, Exit, Output, Program};

/// When a test gives up waiting: only tells a failure from a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a process that hangs in execve(2): a descriptor that it closes then is of a file system that does not answer
/// `FLUSH` until the standard input ends. Another process has the same file open, and goes on. Prints their numbers.
const HANG: &str = "
import ctypes, os, select, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    assert result == 0, os.strerror(ctypes.get_errno())
target = sys.argv[1].encode()
check(libc.unshare(0x20000))
check(libc.mount(b'none', b'/', None, 0x44000, None))
fuse = os.open('/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=100000,user_id=0,group_id=0' % fuse
check(libc.mount(b'hang', target, b'fuse', 0, options))
is_open, has_opened = os.pipe()
other = os.fork()
if other == 0:
    os.open(target, os.O_RDONLY)
    os.write(has_opened, b'.')
    os.close(fuse)
    select.select([], [], [], 1000)
child = os.fork()
if child == 0:
    os.read(is_open, 1)
    os.open(target, os.O_RDONLY)
    os.close(fuse)
    os.execv('/bin/sleep', ['sleep', '1000'])
def answer(unique, error, body=b''):
    os.write(fuse, struct.pack('=IiQ', 16 + len(body), error, unique) + body)
INIT, OPEN, GETATTR, FLUSH = 26, 14, 3, 25
while sys.stdin not in select.select([sys.stdin, fuse], [], [])[0]:
    code, unique = struct.unpack_from('=IQ', os.read(fuse, 1 << 18), 4)
    if code == INIT:
        answer(unique, 0, struct.pack('=IIIIHHIIHHII', 7, 31, 65536, 0, 16, 12, 131072, 1, 0, 0, 0, 0) + bytes(24))
    elif code == OPEN:
        answer(unique, 0, struct.pack('=QII', 1, 0, 0))
    elif code == FLUSH:
        print(child, other, flush=True)
    elif code != GETATTR:
        answer(unique, -38)
for pid in child, other:
    os.kill(pid, 9)
os.close(fuse)
for pid in child, other:
    os.waitpid(pid, 0)
";

/// The program above, the process that hangs, and the other one; `None` where they cannot be had.
fn hang(file: &std::path::Path) -> Option<(Child, u32, u32)> {
    let mut server = Command::new("python3")
        .args(["-c", HANG])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut said = String::new();
    BufReader::new(server.stdout.take()?).read_line(&mut said).ok()?;
    let pids: Vec<u32> = said.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    if let [child, other] = pids[..] {
        return Some((server, child, other));
    }
    server.wait().expect("it has ended");
    None
}

fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("{what} waits for the one that hangs"))
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = os::clock::boottime() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(os::clock::boottime() < until, "gave up waiting for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn program(command: &[String]) -> Program<'_> {
    Program { command, directory: None, environment: &[], user: None, output: Output::Inherit }
}

#[test]
fn who_does_not_answer_holds_up_no_signal_and_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let name = tree_name("os-hang", "n1", directory.path()).expect("a name");
    let tree = match Tree::open(&name) {
        Ok(tree) => tree,
        Err(error) => return println!("skipped: no control groups here: {error}"),
    };
    let containment = Containment::Groups(tree);
    let command = ["/bin/sleep", "1000"].map(str::to_owned);
    let start =
        |resource: &str, command: &[String]| containment.spawn("s", resource, &program(command));
    let told = start("told", &command).expect("it starts");
    // One leaves the group, its session and its mark: only its parent gives it away, until that one is killed.
    let Containment::Groups(tree) = &containment else { unreachable!("it was made of groups") };
    let other = tree.path().with_file_name(format!("other-{name}"));
    fs::create_dir(&other).expect("a group");
    let entrance = other.join("cgroup.procs");
    let away = format!("echo $$ >{}; exec /bin/sleep 1000", entrance.display());
    let script = format!("env -i /usr/bin/setsid /bin/sh -c '{away}' & wait");
    let killed =
        start("killed", &["/bin/sh", "-c", &script].map(str::to_owned)).expect("it starts");
    let others = || fs::read_to_string(&entrance).expect("its processes").lines().count();
    wait_for("one to leave", || (others() == 1).then_some(()));
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file");
    let hanging = hang(&file);
    let there = hanging.as_ref().map(|(_, pid, other)| (*pid, *other));

    // The first look of all: nobody knows yet who hangs.
    let way = containment.clone();
    within("SIGKILL", move || way.kill("s", Some("killed"))).expect("it is killed");
    assert_eq!(wait_for("its end", || killed.exit().expect("it is a child")), Exit::Signal(9));
    wait_for("the end of who has left", || (others() == 0).then_some(()));
    let way = containment.clone();
    within("SIGTERM", move || way.terminate("s", Some("told"))).expect("it is told");
    assert_eq!(wait_for("its end", || told.exit().expect("it is a child")), Exit::Signal(15));

    if let Some((pid, other)) = there {
        // Who has a file of the dead file system open lets everybody look at what else it uses; who hangs does not.
        let look = || {
            let mut all = Vec::new();
            os::mount::users(std::path::Path::new("/dev/shm"), |found| all.push(found))
                .map(|()| all)
        };
        let users = within("the users of a mount", look).expect("users");
        assert!(users.contains(&Found::Silent(pid)), "{users:?}");
        assert!(!users.contains(&Found::Silent(other)), "{users:?}");
        let named = format!("process {pid} does not answer");
        let look = || {
            let way = containment.clone();
            within("a look", move || way.is_empty("s", Some("told")))
        };
        let error = wait_for("the error", || match look() {
            Ok(is_empty) => {
                assert!(!is_empty, "nobody knows");
                None
            }
            Err(error) => Some(error.to_string()),
        });
        assert!(error.starts_with(&named), "{error}");
        let way = containment.clone();
        let refused = within("a start", move || way.spawn("s", "told", &program(&command)));
        let refused = refused.expect_err("it may run already").to_string();
        assert!(refused.contains(&named), "{refused}");
    } else {
        println!("skipped: no process that hangs can be made here");
    }

    if let Some((mut server, ..)) = hanging {
        drop(server.stdin.take());
        server.wait().expect("it ends");
    }
    for resource in ["told", "killed"] {
        wait_for("an empty resource", || {
            containment.is_empty("s", Some(resource)).ok().filter(|is_empty| *is_empty)
        });
    }
    containment.dissolve().expect("nothing is left");
    wait_for("an empty group", || fs::remove_dir(&other).ok());
}

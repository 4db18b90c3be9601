//! Services: started clean, watched, ended without a rest.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use os::cgroup::{Lists, Tree, tree_name};
use os::event::{Events, Interest, Poll, Token};
use os::process::{
    Containment, Exit, MARKER, Output, Process, Program, SpawnError, started, trim_log,
};

use crate::scene::wait_for;

/// A directory and both ways to keep processes together, cleaned up at the end.
struct Scene {
    directory: tempfile::TempDir,
    ways: Vec<Containment>,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let name = tree_name("os-test", "n1", directory.path()).unwrap();
        let mut ways = vec![Containment::Marked { tree: name.clone(), refusal: 0 }];
        match Tree::open(&name) {
            Ok(tree) => ways.push(Containment::Groups(tree)),
            Err(error) => println!("without control groups, the kernel forbids them here: {error}"),
        }
        Scene { directory, ways }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What the program `/bin/sh -c SCRIPT` printed, and how it ended.
    fn output(&self, way: &Containment, script: &str, user: Option<&str>) -> (String, Exit) {
        let log = self.path().join("output");
        fs::write(&log, "").unwrap();
        let command = shell(script);
        let mut program = program(&command);
        program.output = Output::File(&log);
        program.user = user;
        let process = way.spawn("s", "r", &program).unwrap();
        let exit = wait_for("its end", || process.exit().unwrap());
        wait_for("an empty service", || way.is_empty("s", None).unwrap().then_some(()));
        (fs::read_to_string(&log).unwrap(), exit)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for way in &self.ways {
            way.kill_all().unwrap();
            wait_for("an empty tree", || way.nothing_left().unwrap().then_some(()));
            way.remove_all().unwrap();
            if let Containment::Groups(tree) = way {
                tree.all().remove().unwrap();
            }
        }
    }
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

fn program(command: &[String]) -> Program<'_> {
    Program { command, directory: None, environment: &[], user: None, output: Output::Inherit }
}

#[test]
fn a_process_starts_clean() {
    let scene = Scene::new();
    // An open file that is not marked to be closed, of a number that no shell takes by itself; and a
    // blocked signal.
    let null = fs::File::open("/dev/null").unwrap();
    let open = rustix::io::fcntl_dupfd_cloexec(null, 700).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let _signals = os::signal::Signals::block(&[os::signal::Signal::User1]).unwrap();
    for way in &scene.ways {
        // The shell's own list is one more.
        let (output, exit) = scene.output(way, "cd /proc/self/fd && echo [0-9]*", None);
        assert_eq!(exit, Exit::Code(0));
        let numbers = output.split_whitespace().filter_map(|number| number.parse::<u32>().ok());
        let open_number = rustix::fd::AsRawFd::as_raw_fd(&open).cast_unsigned();
        assert!(numbers.clone().all(|number| number != open_number), "{output}");
        assert_eq!(numbers.filter(|&number| number < 3).count(), 3, "{output}");

        let (output, _) = scene.output(way, "cat /proc/self/status", None);
        for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"] {
            assert!(output.contains(line), "{output}");
        }
        let (output, _) = scene.output(way, "cat /proc/$$/environ | tr '\\0' '\\n'", None);
        let names: Vec<_> = output.lines().filter_map(|line| line.split('=').next()).collect();
        for name in &names {
            assert!(["PATH", "PWD", "OLDPWD", "SHLVL", "_", MARKER].contains(name), "{output}");
        }
        assert!(names.contains(&MARKER));
        let (output, _) = scene.output(way, "cat /proc/$$/stat; echo $$; pwd", None);
        let mut lines = output.lines();
        let fields: Vec<_> =
            lines.next().unwrap().rsplit_once(") ").unwrap().1.split(' ').collect();
        assert_eq!(Some(fields[3]), lines.next(), "a session of its own");
        assert_eq!(lines.next(), Some("/"));
    }
}

#[test]
fn its_end_is_told_as_it_was() {
    let scene = Scene::new();
    for way in &scene.ways {
        assert_eq!(scene.output(way, "exit 7", None).1, Exit::Code(7));
        assert_eq!(scene.output(way, "kill -TERM $$", None).1, Exit::Signal(15));
        let command = shell("exec sleep 1000");
        let process = way.spawn("s", "r", &program(&command)).unwrap();
        assert_eq!(process.exit().unwrap(), None);
        let poll = Poll::new().unwrap();
        poll.add(&process, Token(1), Interest::Read).unwrap();
        process.terminate().unwrap();
        let mut events = Events::with_capacity(1);
        poll.wait(&mut events, None).unwrap();
        assert_eq!(events.iter().next().unwrap().token, Token(1));
        assert_eq!(process.exit().unwrap(), Some(Exit::Signal(15)));
        process.kill().expect("gone is no error");
        let again = process.exit().unwrap().expect("it stays ended");
        assert!(matches!(again, Exit::Signal(15) | Exit::Unknown));
        wait_for("an empty service", || way.is_empty("s", None).unwrap().then_some(()));
    }
}

#[test]
fn a_process_is_adopted_only_if_it_is_the_same() {
    let scene = Scene::new();
    let way = &scene.ways[0];
    let command = shell("exec sleep 1000");
    let process = way.spawn("s", "r", &program(&command)).unwrap();
    assert_eq!(started(process.pid()).unwrap(), Some(process.started()));
    let adopted = Process::adopt(process.pid(), process.started()).unwrap().unwrap();
    assert!(Process::adopt(process.pid(), process.started() - 1).unwrap().is_none());
    assert!(Process::adopt(u32::MAX, 1).unwrap().is_none());
    assert_eq!(adopted.exit().unwrap(), None);
    // Somebody else reaps it: the descriptor still tells that it is gone.
    process.kill().unwrap();
    wait_for("its end", || process.exit().unwrap());
    let exit = wait_for("the same through the other descriptor", || adopted.exit().unwrap());
    assert!(matches!(exit, Exit::Signal(9) | Exit::Unknown), "{exit}");
    assert!(Process::open(process.pid()).unwrap().is_none());
}

#[test]
fn nothing_escapes_the_kill() {
    let scene = Scene::new();
    for way in &scene.ways {
        // A child in a session of its own, one that ignores SIGTERM, one whose parent is gone.
        let script =
            "trap '' TERM; setsid sleep 1000 & (sleep 1001 &) ; sleep 1002 & wait; sleep 1003";
        let command = shell(script);
        let process = way.spawn("s", "r", &program(&command)).unwrap();
        let other = way.spawn("s", "other", &program(&shell("exec sleep 1000"))).unwrap();
        wait_for("all processes", || (way.pids("s", Some("r")).unwrap().len() >= 4).then_some(()));
        let error = way.spawn("s", "r", &program(&command)).unwrap_err();
        assert!(matches!(&error, SpawnError::Occupied(pids) if pids.len() >= 4), "{error}");

        way.terminate("s", Some("r")).unwrap();
        assert_eq!(process.exit().unwrap(), None, "it ignores SIGTERM");
        let watch = way.watch("s", "r").unwrap();
        way.kill("s", Some("r")).unwrap();
        if let Some(watch) = &watch {
            let poll = Poll::new().unwrap();
            poll.add(watch.as_fd(), Token(1), Interest::Urgent).unwrap();
            let mut events = Events::with_capacity(1);
            while !watch.is_empty().unwrap() {
                poll.wait(&mut events, None).unwrap();
            }
        }
        wait_for("its end", || process.exit().unwrap());
        wait_for("an empty resource", || way.is_empty("s", Some("r")).unwrap().then_some(()));
        assert_eq!(other.exit().unwrap(), None, "another resource is not touched");
        assert!(!way.is_empty("s", None).unwrap());
        assert!(!way.nothing_left().unwrap());
        way.remove("s", Some("r")).unwrap();
        assert!(way.is_empty("s", Some("r")).unwrap(), "what does not exist is empty");

        assert_eq!(way.kill_all().unwrap(), 1);
        wait_for("its end", || other.exit().unwrap());
        wait_for("an empty tree", || way.nothing_left().unwrap().then_some(()));
        way.kill("s", None).expect("killing nothing is no error");
        way.remove("s", None).unwrap();
        way.remove("s", None).expect("removing nothing is no error");
    }
}

#[test]
fn a_group_is_killed_one_by_one() {
    let scene = Scene::new();
    for way in &scene.ways {
        let Some(path) = way.group_path("s") else { continue };
        let script =
            "trap '' TERM; setsid sleep 1000 & (sleep 1001 &) ; sleep 1002 & wait; sleep 1003";
        let beside = way.spawn("beside", "r", &program(&shell("exec sleep 1000"))).unwrap();
        // By names that are looked up, and by lists that were opened before.
        let walk = |group: &Path| {
            let group = os::cgroup::Handle::open(group).unwrap();
            (group.kill_listed(), group.is_empty())
        };
        for is_open in [false, true] {
            let process = way.spawn("s", "r", &program(&shell(script))).unwrap();
            let other = way.spawn("s", "other", &program(&shell("exec sleep 1000"))).unwrap();
            wait_for("all processes", || (way.pids("s", None).unwrap().len() >= 5).then_some(()));
            let lists = Lists::open(&path).unwrap();
            assert!(!lists.is_empty().unwrap());
            let kill = || if is_open { (lists.kill(), lists.is_empty()) } else { walk(&path) };
            kill().0.unwrap();
            wait_for("its end", || process.exit().unwrap());
            wait_for("the other's end", || other.exit().unwrap());
            wait_for("an empty group", || kill().1.unwrap().then_some(()));
            assert_eq!(beside.exit().unwrap(), None, "another service is not touched");
            kill().0.expect("killing nothing is no error");
            way.remove("s", None).unwrap();
            lists.kill().expect("what is removed is ended");
            assert!(lists.is_empty().unwrap());

            // One that forks all the time: what a list has missed is on the next one.
            let script = "while :; do (exec sleep 1000) & done";
            let process = way.spawn("s", "r", &program(&shell(script))).unwrap();
            wait_for("some", || (way.pids("s", None).unwrap().len() >= 20).then_some(()));
            let lists = Lists::open(&path).unwrap();
            wait_for("an empty group", || {
                let (killed, empty) =
                    if is_open { (lists.kill(), lists.is_empty()) } else { walk(&path) };
                killed.unwrap();
                empty.unwrap().then_some(())
            });
            wait_for("its end", || process.exit().unwrap());
            way.remove("s", None).unwrap();
        }
        assert!(Lists::open(&path).is_err(), "there is none");
    }
}

#[test]
fn a_group_of_threads_spares_no_other() {
    let scene = Scene::new();
    for way in &scene.ways {
        let Some(path) = way.group_path("s") else { continue };
        // Read in some order: one of the threaded ones comes before the process, or all after it.
        let process = way.spawn("s", "r", &program(&shell("exec sleep 1000"))).unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(path.join("r").join(name)).unwrap();
            fs::write(path.join("r").join(name).join("cgroup.type"), "threaded").unwrap();
        }
        fs::create_dir(path.join("empty")).unwrap();
        os::cgroup::Handle::open(&path).unwrap().kill_listed().unwrap();
        wait_for("its end", || process.exit().unwrap());
        Lists::open(&path).unwrap().kill().unwrap();
    }
}

#[test]
fn what_has_left_its_group_is_found_and_killed() {
    let scene = Scene::new();
    for way in &scene.ways {
        let Containment::Groups(tree) = way else { continue };
        let other = tree.path().with_file_name(format!("other-{}", tree.name()));
        fs::create_dir(&other).unwrap();
        let entrance = other.join("cgroup.procs");
        let away = format!("echo $$ >{}; exec /bin/sleep 1000", entrance.display());
        // By its session, by its mark, and by its parent alone; beside a resource that stays.
        let script = format!(
            "sh -c '{away}' & setsid sh -c '{away}' & env -i /usr/bin/setsid /bin/sh -c '{away}' & wait"
        );
        let process = way.spawn("s", "r", &program(&shell(&script))).unwrap();
        let beside = way.spawn("s", "other", &program(&shell("exec sleep 1000"))).unwrap();
        let others = || fs::read_to_string(&entrance).unwrap().lines().count();
        wait_for("three to leave", || (others() == 3).then_some(()));
        assert_eq!(way.pids("s", Some("r")).unwrap().len(), 4);
        assert_eq!(way.pids("s", None).unwrap().len(), 5);

        // What a kill of the group alone leaves: now they are orphans, and one was only seen before.
        let group = tree.service("s").child("r");
        group.kill().unwrap();
        wait_for("its end", || process.exit().unwrap());
        wait_for("an empty group", || group.is_empty().unwrap().then_some(()));
        assert!(!way.is_empty("s", Some("r")).unwrap());
        assert_eq!(way.pids("s", Some("r")).unwrap().len(), 3);
        assert!(!way.nothing_left().unwrap());
        let error = way.spawn("s", "r", &program(&shell("exit"))).unwrap_err();
        assert!(matches!(&error, SpawnError::Occupied(pids) if pids.len() == 3), "{error}");

        way.kill("s", Some("r")).unwrap();
        wait_for("an empty resource", || way.is_empty("s", Some("r")).unwrap().then_some(()));
        wait_for("an empty group", || fs::remove_dir(&other).ok());
        assert_eq!(beside.exit().unwrap(), None, "another resource is not touched");
    }
}

/// Whoever did not start it knows no session of it: its parent alone gives one away, and that is killed first.
#[test]
fn what_somebody_else_has_started_is_found_and_killed() {
    let scene = Scene::new();
    for way in &scene.ways {
        let Containment::Groups(tree) = way else { continue };
        let other = tree.path().with_file_name(format!("other-{}", tree.name()));
        fs::create_dir(&other).unwrap();
        let entrance = other.join("cgroup.procs");
        let away = format!("echo $$ >{}; exec /bin/sleep 1000", entrance.display());
        let script = format!("env -i /usr/bin/setsid /bin/sh -c '{away}' & wait");
        let process = way.spawn("s", "r", &program(&shell(&script))).unwrap();
        let others = || fs::read_to_string(&entrance).unwrap().lines().count();
        wait_for("one to leave", || (others() == 1).then_some(()));

        let next = Containment::Groups(Tree::open(tree.name()).unwrap());
        assert_eq!(next.kill_all().unwrap(), 2, "the service and who has left it");
        wait_for("its end", || process.exit().unwrap());
        wait_for("nothing", || next.nothing_left().unwrap().then_some(()));
        assert_eq!(others(), 0, "none is left when it says so");
        wait_for("an empty group", || fs::remove_dir(&other).ok());
    }
}

/// A hook that has a service's mark is a hook all the same, and the other way round: nobody asks who is in the
/// groups of the other tree.
#[test]
fn hooks_and_services_do_not_ask_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let name = tree_name("os-beside", "n1", directory.path()).unwrap();
    let open = |name: &str| Tree::open(name).map(Containment::Groups);
    let (services, hooks) = match (open(&name), open(&format!("{name}-hooks"))) {
        (Ok(services), Ok(hooks)) => (services, hooks),
        (Err(error), _) | (_, Err(error)) => {
            return println!("skipped: no control groups: {error}");
        }
    };
    let both = [(&services, &hooks), (&hooks, &services)];
    for (own, other) in both {
        let command =
            shell(&format!("exec env {MARKER}={} sleep 1000", own.marker("s", Some("r"))));
        let process = other.spawn("s", "r", &program(&command)).unwrap();
        let environment = format!("/proc/{}/cmdline", process.pid());
        wait_for("sleep", || fs::read(&environment).unwrap().starts_with(b"sleep").then_some(()));
        assert!(own.is_empty("s", Some("r")).unwrap());
        own.kill("s", Some("r")).unwrap();
        assert_eq!(process.exit().unwrap(), None, "it is not touched");
        other.kill("s", Some("r")).unwrap();
        wait_for("its end", || process.exit().unwrap());
        wait_for("nothing", || other.is_empty("s", Some("r")).unwrap().then_some(()));
    }
    services.dissolve().unwrap();
    hooks.dissolve().unwrap();
}

#[test]
fn dying_threads_can_be_hurried() {
    let scene = Scene::new();
    for way in &scene.ways {
        let Some(path) = way.group_path("s") else { continue };
        let _process = way.spawn("s", "r", &program(&shell("sleep 1000 & wait"))).unwrap();
        wait_for("both", || (way.pids("s", None).unwrap().len() == 2).then_some(()));
        let group = os::cgroup::Group::at(&path).handle().unwrap();
        if let Err(error) = group.hurry() {
            println!("skipped: no real-time class here: {error}");
            return;
        }
        for pid in way.pids("s", None).unwrap() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let policy = stat.rsplit_once(") ").unwrap().1.split(' ').nth(41 - 3).unwrap();
            assert_eq!(policy, "2", "SCHED_RR, also in the groups below: {stat}");
        }
    }
}

#[test]
fn what_cannot_be_started_says_why() {
    let scene = Scene::new();
    for way in &scene.ways {
        let missing = ["/no/such/program".to_owned()];
        let error = way.spawn("s", "r", &program(&missing)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/no/such/program") && text.contains("No such file"), "{text}");
        assert!(matches!(way.spawn("s", "r", &program(&[])), Err(SpawnError::EmptyCommand)));
        let command = shell("exit 0");
        let mut wrong = program(&command);
        wrong.user = Some("no such user");
        assert!(matches!(way.spawn("s", "r", &wrong), Err(SpawnError::UnknownUser(_))));
        let mut wrong = program(&command);
        wrong.directory = Some("/no/such/directory");
        assert!(way.spawn("s", "r", &wrong).is_err());
        wait_for("nothing", || way.is_empty("s", None).unwrap().then_some(()));
    }
}

#[test]
fn it_runs_as_the_user_that_was_asked_for() {
    let scene = Scene::new();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    for way in &scene.ways {
        let (output, _) = scene.output(way, "id -un; id -u; id -G; echo $HOME", Some("nobody"));
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(lines[..3], ["nobody", "65534", "65534"], "{output}");
        assert_eq!(lines.len(), 4);
    }
}

#[test]
fn a_log_stays_bounded_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    assert!(!trim_log(&path, 1_000).unwrap(), "a log that does not exist is short");
    let mut writer = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
    for number in 0..1_000 {
        use std::io::Write;
        writeln!(writer, "line {number}").unwrap();
        trim_log(&path, 1_000).unwrap();
        assert!(fs::metadata(&path).unwrap().len() <= 1_000 + 9);
    }
    let kept = fs::read_to_string(directory.path().join("log.1")).unwrap();
    assert!(kept.len() <= 1_000);
    let both = kept + &fs::read_to_string(&path).unwrap();
    assert!(both.ends_with("line 999\n"), "the newest is kept: {both}");
}

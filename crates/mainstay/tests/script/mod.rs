//! Runs a shell script with real daemons in namespaces of its own.
//!
//! The script is started by `unshare` in a directory of its own; `$M` is the program. It has the
//! functions below at hand. Every wait in it is bounded: `wait_for` gives up after a minute. Where
//! the machine allows no namespaces the test is skipped, and says so.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::process::Command;

use tempfile::TempDir;

/// What every script begins with.
const BEGINNING: &str = r#"
set -eu
wait_for() { for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; return 1; }
say() { echo "== $*"; }
is_member() { "$M" --root "$1" membership; }
# A root with the name of a node and the key of the test.
root() {
  mkdir -p $1/etc/mainstay
  echo $1 >$1/etc/mainstay/node
  printf '%064d\n' 7 >$1/etc/mainstay/key
  chmod 600 $1/etc/mainstay/key
}
# What runs with a root below this directory; nothing of it stays, whatever went wrong.
ours() { grep -lsa -- "--roo[t].$PWD/" /proc/[0-9]*/cmdline | cut -d/ -f3; }
gone() { for _ in $(seq 100); do test -z "$(ours)" && return; sleep 0.1; done; return 1; }
stop() { for signal in TERM KILL; do kill -$signal $(ours) 2>/dev/null || true; gone && return; done; }
trap stop EXIT
# Starts a node: run NODE [WORDS BEFORE THE COMMAND].
run() { node=$1; shift; "$@" "$M" --root $PWD/$node run >$node.log 2>&1 & }
# Network namespaces, each with an interface of each name; a wire is a bridge out here.
namespaces() { mkdir -p /run/netns; mount -t tmpfs none /run/netns; }
wire() { ip link add $1 type bridge; ip link set $1 up; }
# plug NODE WIRE INTERFACE
plug() {
  ip link add $1-$3 type veth peer name $3 netns $1
  ip link set $1-$3 master $2 up
  ip -n $1 link set $3 up
}
node() { ip netns add $1; ip -n $1 link set lo up; }
# Starts nodes in their namespaces, and waits until they are members.
start() {
  for name; do run $name ip netns exec $name; done
  for name; do wait_for is_member $name; done
}
# Parts of a configuration, for here-documents. Tables `cluster` and `node`: cluster [LINE]… NODE…
cluster() {
  printf '[cluster]\nname = "demo"\nid = 10\n'
  number=0
  for word; do
    case $word in
      *=*) echo "$word" ;;
      *) number=$((number + 1)); printf '[[node]]\nname = "%s"\nid = %s\n' $word $number ;;
    esac
  done
}
# service NAME NODE…
service() {
  printf '[[service]]\nname = "%s"\n' $1; shift
  nodes=; for word; do nodes="$nodes, \"$word\""; done
  printf 'nodes = [%s]\n' "${nodes#, }"
}
# A resource of the service above: address NAME ADDRESS
address() { printf '[[service.resource]]\nname = "%s"\nkind = "address"\naddress = "%s"\n' $1 $2; }
# The program, told of a node: on NODE WORDS…
on() { where=$1; shift; "$M" --root $PWD/$where "$@" 2>&1; }
# What a node says of its interfaces: shows NODE PATTERN
shows() { on $1 network list | grep -Eq "$2"; }
# Whether an address stands on an interface: stands NODE ADDRESS INTERFACE
stands() { ip -n $1 addr show dev $3 | grep -q "inet6\? $2/"; }
absent() { ! stands "$@"; }
# Ends the script where it stands there as well as where it belongs.
away() { if stands "$@"; then say "it stands twice: $*"; exit 1; fi; }
# The station of an interface: mac NODE INTERFACE
mac() { ip -n $1 link show dev $2 | sed -n 's/.*ether \([0-9a-f:]*\).*/\1/p'; }
# A machine `out` is none of the cluster. To which station it sends for an address: asked for once, told by
# announcements from then on.
told() { ip -n out neigh show $1 | sed -n 's/.*lladdr \([0-9a-f:]*\).*/\1/p'; }
ask() { ip netns exec out bash -c "echo >/dev/udp/$1/9" || true; }
# sends ADDRESS STATION
sends() { ask $1; [ "$(told $1)" = "$2" ]; }
# Its machine says that nothing listens there: an answer that takes the whole way and back.
answers() { ip netns exec out timeout 1 bash -c "echo >/dev/tcp/$1/9" 2>&1 | grep -q refused; }
"#;

/// What is unshared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spaces {
    /// The network.
    Net,
    /// Network and mounts: scripts with several nodes, each with a network of its own.
    NetAndMounts,
}

/// What a script said, and what its nodes wrote.
pub(crate) struct Said {
    /// Standard output.
    pub(crate) output: String,
    /// Standard error and all logs.
    pub(crate) logs: String,
    /// Where it ran.
    _directory: TempDir,
}

impl Said {
    /// The output with blanks collapsed: printed guides lost their columns.
    pub(crate) fn collapsed(&self) -> String {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.output.lines().map(|line| words(line) + "\n").collect()
    }

    /// Fails unless each of these texts was said.
    pub(crate) fn has(&self, expected: &[&str]) {
        for expected in expected {
            let all = format!("{}{}", self.output, self.logs);
            assert!(self.output.contains(expected), "{expected} is missing in\n{all}");
        }
    }
}

/// Runs the script; none where the machine allows no namespaces.
pub(crate) fn run(spaces: Spaces, script: &str) -> Option<Said> {
    let unshare: &[&str] = match spaces {
        Spaces::Net => &["--net"],
        Spaces::NetAndMounts => &["--net", "--mount"],
    };
    let probe = "ip link set lo up && ip link add probe type bridge";
    let allowed = Command::new("unshare").args(unshare).args(["--", "sh", "-c", probe]).output();
    if !allowed.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped, no network namespaces here: {allowed:?}");
        return None;
    }
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let output = Command::new("unshare")
        .args(unshare)
        .args(["--", "sh", "-c", &format!("{BEGINNING}{script}")])
        .env("M", env!("CARGO_BIN_EXE_mainstay"))
        .env_remove("MAINSTAY_LAB")
        .env_remove("MAINSTAY_ROOT")
        .current_dir(directory.path())
        .output()
        .expect("unshare is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut logs = String::from_utf8_lossy(&output.stderr).into_owned();
    let entries = std::fs::read_dir(directory.path()).expect("it was just made");
    for entry in entries.flatten() {
        let path = entry.path();
        let log = match path.extension().is_some_and(|extension| extension == "log") {
            true => path,
            false => path.join("var/log/mainstay/mainstay.log"),
        };
        if let Ok(text) = std::fs::read_to_string(&log) {
            let name = log.strip_prefix(directory.path()).unwrap_or(&log).display();
            logs.push_str(&format!("--- {name}\n{text}"));
        }
    }
    assert!(output.status.success(), "{said}{logs}");
    Some(Said { output: said, logs, _directory: directory })
}

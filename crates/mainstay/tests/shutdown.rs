//! The end of a host: the guard is told to stop, as a service manager does it, on a node with three services.
//! They leave in order, each on its own; the other node starts each as soon as it has stopped, and waits for
//! no lease. The guard tells the manager how long that may take.

mod script;

use script::{Spaces, run};

/// Two nodes on one interface. A service writes the moment of each breath down, in nanoseconds.
const SCRIPT: &str = r#"
ip link set lo up
ip addr add 10.77.0.1/24 dev lo
ip addr add 10.77.0.2/24 dev lo
breathe() {
  cat <<END
[[service]]
name = "$1"
nodes = ["n1", "n2"]
stop_timeout = "20s"
[[service.resource]]
name = "server"
kind = "process"
command = ["/bin/sh", "-c", "trap 'sleep $2; exit' TERM; while :; do date +%s%N >>$PWD/$1; sleep 0.02 & wait \$!; done"]
END
}
for node in n1 n2; do
  root $node
  {
    cat <<END
$(cluster 'detection = "normal"' 'tie = "prefer:n2"' n1 n2)
[[network]]
name = "net0"
nodes = { n1 = "10.77.0.1/24", n2 = "10.77.0.2/24" }
END
    breathe quick 0
    breathe slow 1
    breathe slower 2
  } >$node/etc/mainstay/cluster.toml
done
python3 -c '
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("manager.sock")
print("listening", flush=True)
while True: print(s.recv(1000).decode(), flush=True)
' >manager &
manager=$!
wait_for grep -q listening manager
export NOTIFY_SOCKET=$PWD/manager.sock
run n1
n1=$!
unset NOTIFY_SOCKET
run n2
wait_for is_member n1
wait_for is_member n2
runs() { "$M" --root $PWD/n2 service list | grep -c "running *$1" | grep -qx 3; }
wait_for runs n1
kill -TERM $n1
code=0; wait $n1 || code=$?
say "the guard: $code"
wait_for runs n2
sleep 0.5
kill $manager
sed 's/^/manager: /' manager
for service in quick slow slower; do
  awk -v s=$service 'NR > 1 && $1 - before > most { most = $1 - before } { before = $1 }
    END { printf "outage of %s: %d ms\n", s, most / 1000000 }' $service
done
grep -o 'leaving: .*' n1.log
say "waited for: $(grep -c 'can act no more' n2.log || true)"
say "killed: $(grep -c 'killed' n1.log || true)"
"#;

#[test]
fn services_leave_and_nobody_waits_for_a_lease() {
    let Some(said) = run(Spaces::Net, SCRIPT) else { return };
    said.has(&[
        "== the guard: 0",
        "manager: READY=1",
        "manager: STOPPING=1",
        "manager: STATUS=services leave, for 45 s at most",
        "manager: EXTEND_TIMEOUT_USEC=70000000",
        "leaving: 0 of 3 services stopped, 0s of 25s; still here: quick, slow, slower",
        "== waited for: 0",
        "== killed: 0",
    ]);
    println!("{}", said.output);
}

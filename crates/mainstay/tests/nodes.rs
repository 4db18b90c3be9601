//! Two nodes of one cluster with real daemons, in a network namespace with nothing but a loopback
//! interface: what happens to the list of nodes, and what the guard ends with.

mod script;

use script::{Spaces, run};

/// Starts two nodes, has one leave and removed, then breaks the configuration under the other.
const SCRIPT: &str = r#"
mkdir a b
ip link set lo up
ip addr add 10.77.0.1/24 dev lo
ip addr add 10.77.0.2/24 dev lo
"$M" --root a init --name demo --node-name n1 --address 10.77.0.1/24 --detection normal
"$M" --root a run >a.log 2>&1 & a=$!
trap 'kill $a; wait' EXIT
wait_for is_member a
"$M" --root a token | head -1 >token
"$M" --root b join "$(cat token)" --node-name n2 --address 10.77.0.2/24
"$M" --root b run >b.log 2>&1 & b=$!
trap 'kill $a $b; wait' EXIT
wait_for is_member b
code=0; "$M" --root a node remove n2 2>&1 || code=$?
say "remove a member: $code"
"$M" --root b leave
code=0; wait $b || code=$?
trap 'kill $a; wait' EXIT
say "the guard that left: $code"
"$M" --root a node remove n2 --reason sold
say "$("$M" --root a node list | grep -c n2 || true) lines with n2"
say "journal: $(grep -c 'node remove n2: sold' a.log)"
echo 'x = ' >>a/etc/mainstay/cluster.toml
kill -9 $(cat /proc/$a/task/$a/children)
code=0; wait $a || code=$?
trap - EXIT
say "the guard without a configuration: $code"
say "findings: $(grep -c 'cluster.toml:[0-9]*:5' a.log)"
"#;

#[test]
fn a_node_that_has_left_is_removed_and_a_broken_file_ends_the_guard() {
    let Some(said) = run(Spaces::Net, SCRIPT) else { return };
    said.has(&[
        "n2 is a member of the view",
        "== remove a member: 1",
        "== the guard that left: 0",
        "== 0 lines with n2",
        "== journal: 1",
        "== the guard without a configuration: 64",
        "== findings: 1",
    ]);
}

//! Service addresses that are shared out over the interfaces of a real node, seen by a third machine.

mod script;

use script::{Spaces, run};

/// One node with two interfaces on one wire, and somebody outside.
const SHARED: &str = r#"
namespaces
wire w0
node n1; plug n1 w0 eth0; plug n1 w0 eth1; root n1
node out; plug out w0 eth0
ip -n n1 addr add 10.1.0.1/24 dev eth0
ip -n n1 addr add 10.2.0.1/24 dev eth1
ip -n out addr add 10.9.0.200/24 dev eth0
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster n1)
[[network]]
name = "lan"
distribution = "least-load"
also = { n1 = ["eth1"] }
persistent = { n1 = "10.9.0.5/24" }
nodes = { n1 = { address = "10.1.0.1/24", interface = "eth0" } }
$(service web n1)
$(address one 10.9.0.1/24)
$(address two 10.9.0.2/24)
END
on n1 config check
start n1; n1=$!
# To which interface the machine outside sends.
leads() { sends $1 "$(mac n1 $2)"; }
wait_for stands n1 10.9.0.5 eth0
wait_for stands n1 10.9.0.1 eth1
wait_for stands n1 10.9.0.2 eth0
for pair in "10.9.0.5 eth0" "10.9.0.1 eth1" "10.9.0.2 eth0"; do wait_for leads $pair; done
for address in 10.9.0.5 10.9.0.1 10.9.0.2; do wait_for answers $address; done
# Who has something to send asks in the name of the interface that asks, and moves nothing by that.
for pair in "10.9.0.5 eth0" "10.9.0.1 eth1" "10.9.0.2 eth0"; do
  ip -n out neigh flush all; ip -n n1 neigh flush all
  wait_for answers ${pair% *}
  [ "$(told ${pair% *})" = "$(mac n1 ${pair#* })" ] || { say "$pair is told elsewhere"; exit 1; }
done
# A kernel that takes only what it would answer over the same interface.
filter() { ip netns exec n1 sh -c "echo $1 >/proc/sys/net/ipv4/conf/eth1/rp_filter"; }
warned() { on n1 status | grep -q "net.ipv4.conf.eth1.rp_filter = 1 is in force"; }
fine() { ! warned; }
fine
filter 1
ip -n n1 addr add 10.2.0.9/24 dev eth1
wait_for warned
ip -n out neigh flush all; ip -n n1 neigh flush all
if answers 10.9.0.1; then say "the filter lets it through"; exit 1; fi
filter 2; ip -n n1 addr del 10.2.0.9/24 dev eth1
wait_for fine; wait_for answers 10.9.0.1
say "filtered and not"
say "shared out"; on n1 why web | grep -A1 "is on"

# An interface fails: its address goes to the other one, and those outside are told.
before=$(told 10.9.0.1)
ip link set n1-eth1 down
wait_for stands n1 10.9.0.1 eth0
away n1 10.9.0.1 eth1
moved() { [ "$(told 10.9.0.1)" = "$(mac n1 eth0)" ]; }
wait_for moved
wait_for answers 10.9.0.1
say "outside knows: $([ "$before" = "$(mac n1 eth1)" ] && echo from eth1 to eth0)"
on n1 why web | grep -A1 "10.9.0.1 is on"

# It works again: nothing moves, and what would be better is said.
ip link set n1-eth1 up
later() { on n1 why web | grep -q "later .*eth1 would be better (least-load: eth1 has 0, eth0 2)"; }
wait_for later
sleep 6
stands n1 10.9.0.1 eth0; stands n1 10.9.0.2 eth0
say "nothing went back"

# Another daemon leaves them where they are.
kill -9 $(cat /proc/$n1/task/$n1/children)
adopted() { on n1 why web | grep -q "it was there when the daemon came back"; }
wait_for adopted
stands n1 10.9.0.1 eth0; stands n1 10.9.0.2 eth0; stands n1 10.9.0.5 eth0
say "adopted"

# The persistent address goes to the other interface of its node as well.
ip link set n1-eth0 down
wait_for stands n1 10.9.0.5 eth1
wait_for stands n1 10.9.0.1 eth1
wait_for stands n1 10.9.0.2 eth1
away n1 10.9.0.5 eth0
for address in 10.9.0.5 10.9.0.1 10.9.0.2; do wait_for leads $address eth1; wait_for answers $address; done
on n1 --json status | grep -A7 '"10.9.0.5"'
say "all on eth1"

# With none left nothing is taken from the node.
ip link set n1-eth1 down
sleep 2
stands n1 10.9.0.5 eth1
say "persistent"
ip link set n1-eth1 up
wait_for leads 10.9.0.5 eth1
"#;

/// Two nodes with two interfaces each on one wire, and somebody outside; they hear each other on another one, too.
const SILENT: &str = r#"
namespaces
wire w0; wire w1
node out; plug out w0 eth0
ip -n out addr add 10.9.0.200/24 dev eth0
for number in 1 2; do
  node n$number; plug n$number w0 eth0; plug n$number w0 eth1; plug n$number w1 eth2; root n$number
  ip -n n$number addr add 10.3.0.$number/24 dev eth2
  ip -n n$number addr add 10.1.0.$number/24 dev eth0
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster n1 n2)
[[network]]
name = "lan"
poll_interval = "250ms"
polls = 3
also = { n1 = ["eth1"], n2 = ["eth1"] }
persistent = { n1 = "10.9.0.5/24", n2 = "10.9.0.6/24" }
nodes = { n1 = { address = "10.1.0.1/24", interface = "eth0" }, n2 = { address = "10.1.0.2/24", interface = "eth0" } }
[[network]]
name = "back"
nodes = { n1 = "10.3.0.1/24", n2 = "10.3.0.2/24" }
$(service web n1 n2)
$(address one 10.9.0.1/24)
END
done
start n1 n2
for number in 1 2; do
  wait_for shows n$number "eth0 +primary +up"
  wait_for shows n$number "eth1 +sharing +up"
done
wait_for stands n1 10.9.0.5 eth0
wait_for stands n1 10.9.0.1 eth1
say "at the start"; on n1 network list

# The further interface keeps its signal and loses everything: its address goes to the other one.
ip link set n1-eth1 nomaster
wait_for shows n1 "eth1 +sharing +down .*hears nothing and is not heard"
ip -n n1 link show dev eth1 | grep -q "LOWER_UP"
wait_for stands n1 10.9.0.1 eth0
away n1 10.9.0.1 eth1
wait_for answers 10.9.0.1
say "on the other interface"

# That one does so as well: the network has failed here alone, and the service leaves.
ip link set n1-eth0 nomaster
wait_for stands n2 10.9.0.1 eth1
wait_for answers 10.9.0.1
away n1 10.9.0.1 eth0; away n1 10.9.0.1 eth1
on n2 events | grep "network_down"
say "on the other node"
"#;

#[test]
fn a_silent_further_interface_is_left_and_a_silent_network_too() {
    let Some(said) = run(Spaces::NetAndMounts, SILENT) else { return };
    said.has(&[
        "== at the start",
        "== on the other interface",
        "network_down local: lan has failed on n1",
        "== on the other node",
    ]);
}

/// One node: a network that shares addresses out, and one with a standby that gives back nothing by itself.
const BY_HAND: &str = r#"
namespaces
wire w0; wire w1
node n1; plug n1 w0 eth0; plug n1 w0 eth1; plug n1 w1 eth2; plug n1 w1 eth3; root n1
ip -n n1 addr add 10.1.0.1/24 dev eth0
ip -n n1 addr add 10.3.0.1/24 dev eth2
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster n1)
[[network]]
name = "lan"
poll_interval = "250ms"
also = { n1 = ["eth1"] }
nodes = { n1 = { address = "10.1.0.1/24", interface = "eth0" } }
[[network]]
name = "back"
poll_interval = "250ms"
auto_return = false
nodes = { n1 = { address = "10.3.0.1/24", interface = "eth2", standby = ["eth3"] } }
$(service web n1)
$(address one 10.9.0.1/24)
network = "lan"
$(address two 10.9.0.2/24)
network = "lan"
END
code() { code=0; on n1 "$@" || code=$?; echo "($code)"; }
on n1 config check
start n1
for card in eth0 eth1 eth2 eth3; do wait_for shows n1 "$card +[a-z]+ +up"; done
wait_for stands n1 10.9.0.1 eth0; wait_for stands n1 10.9.0.2 eth1
say "nothing to do"; code network rebalance lan; code network return back
say "not there"; code network rebalance back; code network return lan

ip link set n1-eth1 down
wait_for stands n1 10.9.0.2 eth0
ip link set n1-eth1 up
wait_for shows n1 "eth1 +sharing +up"
sleep 6
if stands n1 10.9.0.1 eth1 || stands n1 10.9.0.2 eth1; then say "not by itself"; exit 1; fi
say "anew"; code network rebalance lan --reason "the cable is new"
wait_for stands n1 10.9.0.1 eth1
stands n1 10.9.0.2 eth0

ip link set n1-eth2 down
wait_for stands n1 10.3.0.1 eth3
say "too early"; code network return back
ip link set n1-eth2 up
wait_for shows n1 "eth2 +primary +up"
sleep 6
stands n1 10.3.0.1 eth3
say "back"; code network return back
wait_for stands n1 10.3.0.1 eth2
away n1 10.3.0.1 eth3
"#;

#[test]
fn addresses_go_back_and_are_shared_out_anew_when_somebody_says_so() {
    let Some(said) = run(Spaces::NetAndMounts, BY_HAND) else { return };
    said.has(&[
        "lan: all addresses here are where they would be put now\n(0)",
        "back: the addresses of this node are on eth2, where they belong\n(0)",
        "back is no network that shares addresses out over interfaces of this node",
        "there are: lan",
        "this node has no standby interface in a network lan",
        "there are: back",
        "== anew\nlan: 10.9.0.1 from eth0 to eth1\n(0)",
        "back: the addresses of this node stay on eth3: eth2 has no carrier",
        "== back\nback: the addresses of this node go from eth3 back to eth2\n(0)",
    ]);
    assert!(
        said.logs.contains("asks for rebalance network lan: the cable is new"),
        "{}",
        said.logs
    );
}

#[test]
fn addresses_are_shared_out_and_a_third_machine_knows() {
    let Some(said) = run(Spaces::NetAndMounts, SHARED) else { return };
    said.has(&[
        "== filtered and not",
        "== shared out",
        "10.9.0.1 is on eth1 here",
        "because  least-load: eth1 has 0, eth0 1",
        "10.9.0.2 is on eth0 here",
        "== outside knows: from eth1 to eth0",
        "because  only eth0 can carry it",
        "== nothing went back",
        "== adopted",
        "== all on eth1",
        "\"phase\": \"persistent\"",
        "== persistent",
    ]);
    assert!(
        said.logs.contains("10.9.0.1 of web went to eth0: eth1 has no carrier; only eth0"),
        "{}",
        said.logs
    );
}

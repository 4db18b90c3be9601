//! Interfaces that fail without losing their signal, with real nodes.

mod script;

use script::{Spaces, run};

/// One node with a standby, and a stranger's cluster on the same wire.
const STANDBY: &str = r#"
namespaces
wire w0
node n1; plug n1 w0 eth0; plug n1 w0 eth1; root n1
node out; plug out w0 eth0; root out
ip -n n1 addr add 10.0.0.1/24 dev eth0
ip -n out addr add 10.0.0.9/24 dev eth0
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster n1)
[[network]]
name = "net0"
poll_interval = "250ms"
polls = 3
nodes = { n1 = { address = "10.0.0.1/24", interface = "eth0", standby = ["eth1"] } }
END
on n1 config check
# A stranger's cluster on the same wire: it talks to all, and this one does not understand it.
sed -e 's/"demo"/"other"/; s/id = 10/id = 11/; s/n1/out/g; s/0.1\/24/0.9\/24/; s/, standby.*]/ /' n1/etc/mainstay/cluster.toml >out/etc/mainstay/cluster.toml
printf '%064d\n' 8 >out/etc/mainstay/key
run out ip netns exec out
start n1; n1=$!
wait_for shows n1 "eth0 +primary +up"
wait_for shows n1 "eth1 +standby +up +.* asks"
stands n1 10.0.0.1 eth0
say "at the start"; on n1 network list

# The switch takes the port away; the card keeps its signal.
ip link set n1-eth0 nomaster
wait_for shows n1 "eth0 +primary +down .*hears nothing and is not heard"
ip -n n1 link show dev eth0 | grep -q "LOWER_UP"
wait_for stands n1 10.0.0.1 eth1
code=0; on n1 network list >/dev/null || code=$?
say "silent failure: $code, told $(on n1 events | grep -c 'interface eth0 of .* is down: it hears nothing')"
ip link set n1-eth0 master w0
wait_for shows n1 "eth0 +primary +up"
wait_for stands n1 10.0.0.1 eth0
say "and back"

# A daemon that is started again does not go back to a primary that is silently dead.
ip link set n1-eth0 nomaster
wait_for stands n1 10.0.0.1 eth1
returns() { on n1 events | grep -c "from eth1 to eth0" || true; }
before=$(returns)
kill -9 $(cat /proc/$n1/task/$n1/children)
wait_for shows n1 "eth0 +primary +unsure .*not proven"
wait_for shows n1 "eth0 +primary +down .*hears nothing and is not heard"
sleep 6
stands n1 10.0.0.1 eth1
say "returns: $before, after a restart $(returns)"
ip link set n1-eth0 master w0
wait_for stands n1 10.0.0.1 eth0

# The whole switch is dead, and both cards keep their signal.
ip link set n1-eth0 nomaster; ip link set n1-eth1 nomaster
wait_for shows n1 "eth0 +primary +unsure .*no other card here does either"
wait_for shows n1 "eth1 +standby +unsure"
stands n1 10.0.0.1 eth0; away n1 10.0.0.1 eth1
ip link set n1-eth0 master w0; ip link set n1-eth1 master w0
wait_for shows n1 "eth0 +primary +up"
wait_for shows n1 "eth1 +standby +up"
stands n1 10.0.0.1 eth0; away n1 10.0.0.1 eth1
say "nothing has moved"

# A failure that is only said.
on n1 network interface disable eth0 --reason "a test"
wait_for shows n1 "eth0 +primary +down .*disabled by command"
wait_for stands n1 10.0.0.1 eth1
on n1 network interface enable eth0
wait_for stands n1 10.0.0.1 eth0
code=0; on n1 network interface disable eth9 || code=$?
say "an interface of nobody: $code"
on n1 --json network list
"#;

#[test]
fn a_card_that_fails_silently_is_left_and_a_dead_switch_moves_nothing() {
    let Some(said) = run(Spaces::NetAndMounts, STANDBY) else { return };
    said.has(&[
        "net0: 3 polls of 250 ms decide, by inout; no other node is heard",
        "== silent failure: 1, told 1",
        "== and back",
        "== returns: 1, after a restart 0",
        "== nothing has moved",
        "eth0 counts as failed until",
        "== an interface of nobody: 1",
        "there are: eth0, eth1",
        "\"effective_detection\": \"inout\"",
        "health_unsealed",
    ]);
    assert!(
        said.logs.contains("interface eth0 of net0 is down: it hears nothing"),
        "{}",
        said.logs
    );
}

/// Three nodes with one card each; one of them is deaf and dumb.
const SINGLE: &str = r#"
namespaces
wire w0
for number in 1 2 3; do
  node n$number; plug n$number w0 eth0; root n$number
  ip -n n$number addr add 10.0.0.$number/24 dev eth0
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster n1 n2 n3)
[[network]]
name = "net0"
poll_interval = "250ms"
failure_detection = "inonly-or-inout"
nodes = { n1 = "10.0.0.1/24", n2 = "10.0.0.2/24", n3 = "10.0.0.3/24" }
END
done
start n1 n2 n3
for number in 1 2 3; do wait_for shows n$number "eth0 +primary +up +.* asks +veth"; done
wait_for shows n1 "by inonly-or-inout; heard are n2, n3"
ip link set n1-eth0 nomaster
wait_for shows n1 "eth0 +primary +unsure"
wait_for shows n2 "heard are n3$"
shows n2 "eth0 +primary +up"
shows n3 "eth0 +primary +up"
ip link set n1-eth0 master w0
wait_for shows n1 "eth0 +primary +up"
say "all are up"
"#;

#[test]
fn single_cards_prove_each_other_and_a_dead_one_is_doubted() {
    let Some(said) = run(Spaces::NetAndMounts, SINGLE) else { return };
    said.has(&["== all are up"]);
}

/// A node with a standby, and a machine outside that is no node; one interface hears no answers.
const DUMB: &str = r#"
namespaces
wire w0
node n1; plug n1 w0 eth0; plug n1 w0 eth1; root n1
node out; plug out w0 eth0
ip -n n1 addr add 10.0.0.1/24 dev eth0
ip -n out addr add 10.0.0.254/24 dev eth0
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster n1)
[[network]]
name = "net0"
poll_interval = "250ms"
targets = ["10.0.0.254"]
nodes = { n1 = { address = "10.0.0.1/24", interface = "eth0", standby = ["eth1"] } }
END
on n1 config check
start n1
wait_for shows n1 "eth0 +primary +up"
wait_for shows n1 "eth1 +standby +up"
answered() { [ $(on n1 --json network list | grep -c '"target": true') = 2 ]; }
wait_for answered
if ip -n out neigh show | grep -q "10.0.0.1 .*lladdr"; then say "a probe left something behind"; exit 1; fi

# A target that answers nobody accuses nobody.
ip -n out addr del 10.0.0.254/24 dev eth0
unanswered() { [ $(on n1 --json network list | grep -c '"target": false') = 2 ]; }
wait_for unanswered
sleep 2
shows n1 "eth0 +primary +up .*no target answers it"
stands n1 10.0.0.1 eth0
ip -n out addr add 10.0.0.254/24 dev eth0
wait_for answered
say "theirs"

# The switch takes what is for the primary alone to another port: it is heard, and hears what is for all.
mac=$(mac n1 eth0)
bridge fdb replace $mac dev n1-eth1 master static sticky
wait_for shows n1 "eth0 +primary +down .*not answered by targets that answer another"
wait_for stands n1 10.0.0.1 eth1
say "mine"
bridge fdb del $mac dev n1-eth1 master
wait_for shows n1 "eth0 +primary +up"
wait_for stands n1 10.0.0.1 eth0
say "and back"
"#;

#[test]
fn a_target_tells_whose_fault_it_is() {
    let Some(said) = run(Spaces::NetAndMounts, DUMB) else { return };
    said.has(&["== theirs", "== mine", "== and back"]);
}

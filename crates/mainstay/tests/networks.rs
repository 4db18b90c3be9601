//! Networks of every description, with real nodes: named by a hosts file, spread over routers, and
//! with heartbeats over addresses of their own.

mod script;

use script::{Spaces, run};

/// The hosts file of the guide on additional heartbeats, as printed, on both nodes.
const NAMES: &str = r#"
namespaces
wire w0; wire w1
for number in 1 2; do
  letter=$(echo ab | cut -c$number)
  node node-$letter; plug node-$letter w0 e0; plug node-$letter w1 e1; root node-$letter
  ip -n node-$letter addr add 10.0.0.$number/24 dev e0
  ip -n node-$letter addr add 192.168.72.$number/24 dev e1
  cat >node-$letter/etc/hosts <<END
10.0.0.1 node-a
10.0.0.2 node-b
192.168.72.1 node-a-priv
192.168.72.2 node-b-priv
END
  cat >node-$letter/etc/mainstay/cluster.toml <<END
$(cluster 'tie = "manual"' node-a node-b)
[[network]]
name = "hostnames"
nodes = { node-a = "node-a", node-b = "node-b" }
[[network]]
name = "private"
nodes = { node-a = "node-a-priv", node-b = "node-b-priv" }
END
done
on node-a config check
run node-a ip netns exec node-a
run node-b ip netns exec node-b
wait_for is_member node-a
alive() { test "$(on $1 path list | grep -c alive)" = $2; }
wait_for alive node-a 2
wait_for alive node-b 2
say "both"; on node-a path list
# Another name for the second wire, while it runs.
sed 's/node-b-priv/node-b-sync/' node-a/etc/mainstay/cluster.toml >new.toml
code=0; on node-a config apply new.toml || code=$?
say "a name that nobody has: $code"
for node in node-a node-b; do echo "192.168.72.2 node-b-sync" >>$node/etc/hosts; done
on node-a config apply new.toml
wait_for alive node-a 2
wait_for alive node-b 2
say "the other name works"
# Debian's line for the own name.
sed -i 's/^10.0.0.2 node-b$/127.0.1.1 node-b/' node-b/etc/hosts
says() { on $1 status | grep -q "$2"; }
wait_for says node-b "leads to 127.0.1.1"
code=0; on node-b config check || code=$?
say "looped: $code"
sed -i 's/^127.0.1.1 node-b$/10.0.0.22 node-b/' node-b/etc/hosts
wait_for says node-b "node-b is 10.0.0.22 in .*, and no interface of this node has that address"
sed -i 's/^10.0.0.22 node-b$/10.0.0.2 node-b/' node-b/etc/hosts
wait_for alive node-b 2
say "well again"
# A name leaves one file, and then another configuration comes that says nothing about it.
sed -i '/ node-a-priv$/d' node-b/etc/hosts
wait_for says node-b "the name node-a-priv is not in"
sed 's/^tie = "manual"/tie = "none"/' new.toml >other.toml
on node-a config apply other.toml
untied() { on $1 config show | grep -q 'tie = "none"'; }
wait_for untied node-b
kept() { on node-b path list | grep -q "192.168.72.1:7420"; }
code=0; kept || code=$?
say "the address is kept: $code"
wait_for alive node-b 2
wait_for alive node-a 2
say "and works"
"#;

#[test]
fn networks_are_named_by_the_hosts_file_as_in_the_guide() {
    let Some(said) = run(Spaces::NetAndMounts, NAMES) else { return };
    said.has(&[
        "is usable: cluster demo, 2 nodes, 2 networks",
        "10.0.0.1:7420",
        "192.168.72.2:7420",
        "the name node-b-sync is not in",
        "== a name that nobody has: 1",
        "== the other name works",
        "take node-b out of the line of 127.0.1.1",
        "== looped: 1",
        "== well again",
        "== the address is kept: 0",
        "== and works",
    ]);
}

/// Two subnets and a router between them.
const GLOBAL: &str = r#"
namespaces
wire w0; wire w1
node router; plug router w0 r0; plug router w1 r1
ip -n router addr add 10.1.0.254/24 dev r0; ip -n router addr add 10.2.0.254/24 dev r1
ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
for number in 1 2 3; do
  node n$number; root n$number
  net=$((number == 3 ? 2 : 1))
  plug n$number w$((net - 1)) e0
  ip -n n$number addr add 10.$net.0.$number/24 dev e0
  ip -n n$number route add default via 10.$net.0.254
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster n1 n2 n3)
[[network]]
name = "net_ether_01"
global = "net_global_01"
nodes = { n1 = "10.1.0.1/24", n2 = "10.1.0.2/24" }
[[network]]
name = "net_ether_02"
global = "net_global_01"
nodes = { n3 = "10.2.0.3/24" }
END
done
on n1 config check
start n1 n2 n3
all() { on n1 membership | grep -q 'n1.*n2.*n3' || on n1 membership | grep -c member | grep -q 3; }
say "one network"; on n1 path list
alive() { test "$(on $1 path list | grep -c alive)" = $2; }
wait_for alive n1 2
wait_for alive n3 2
say "across the router: $(on n3 path test n1)"
ip netns exec router sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
wait_for alive n1 1
say "the router is out"
ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
wait_for alive n1 2
token=$(on n1 token | head -1)
mkdir -p n4/etc; node n4; plug n4 w1 e0; ip -n n4 addr add 10.2.0.4/24 dev e0
ip -n n4 route add default via 10.2.0.254
ip netns exec n4 "$M" --root $PWD/n4 join "$token" --node-name n4 --address 10.2.0.4/24
say "joined: $(grep -c 'n3 = "10.2.0.3/24", n4 = "10.2.0.4/24"' n4/etc/mainstay/cluster.toml)"
"#;

#[test]
fn networks_with_a_router_between_are_monitored_as_one() {
    let Some(said) = run(Spaces::NetAndMounts, GLOBAL) else { return };
    said.has(&[
        "is usable: cluster demo, 3 nodes, 1 network",
        "net_global_01",
        "n1 over net_global_01, udp: works",
        "== the router is out",
        "== joined: 1",
    ]);
    assert!(!said.output.contains("over net_ether_"), "the parts are not shown:\n{}", said.output);
}

/// Both networks' own addresses are in one subnet, so heartbeats have aliases.
const ALIASES: &str = r#"
namespaces
wire w0; wire w1
for number in 1 2; do
  node n$number; plug n$number w0 e0; plug n$number w1 e1; root n$number
  ip -n n$number addr add 10.1.0.$number/24 dev e0
  ip -n n$number addr add 10.1.0.1$number/24 dev e1
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster 'tie = "manual"' n1 n2)
[[network]]
name = "net0"
heartbeat_alias = "10.200.0.0/16"
nodes = { n1 = "10.1.0.1/24", n2 = "10.1.0.2/24" }
[[network]]
name = "net1"
id = 7
heartbeat_alias = "10.200.0.0/16"
nodes = { n1 = { interface = "e1" }, n2 = { interface = "e1" } }
END
done
sed 's/10.1.0.2/10.200.7.9/' n1/etc/mainstay/cluster.toml >clash.toml
code=0; on n1 config check clash.toml || code=$?
say "a clash: $code"
run n1 ip netns exec n1; first=$!
run n2 ip netns exec n2
wait_for is_member n1
alive() { test "$(on $1 path list | grep -c alive)" = $2; }
wait_for alive n1 2
wait_for alive n2 2
aliases() { ip -n $1 -o addr | grep -c 10.200 || true; }
say "aliases: $(aliases n1) $(aliases n2)"; on n1 path list
ip -n n1 -o addr show dev e1 | grep -o '10.200.7.2/24'
# A crash of the daemon: the guard starts another one, which goes on with what is there.
life() { on n1 status --json | grep -m1 '"incarnation": [0-9]'; }
before=$(life)
kill -9 $(cat /proc/$first/task/$first/children)
changed() { now=$(life) && test "$now" != "$before"; }
wait_for changed
wait_for alive n1 2
say "after a crash: $(aliases n1)"
# The address is taken away by somebody else.
ip -n n1 addr del 10.200.7.2/24 dev e1
back() { test "$(aliases $1)" = 2; }
wait_for back n1
wait_for alive n1 2
say "and back"
# The second network goes.
sed '/name = "net1"/,$d' n1/etc/mainstay/cluster.toml | sed '$d' >new.toml
on n1 config apply new.toml
only() { test "$(aliases $1)" = 1; }
wait_for only n1; wait_for only n2
say "deleted: $(aliases n1) $(aliases n2)"
on n2 leave
none() { test "$(aliases $1)" = 0; }
wait_for none n2
say "left: $(aliases n1) $(aliases n2)"
"#;

#[test]
fn heartbeats_have_addresses_of_their_own() {
    let Some(said) = run(Spaces::NetAndMounts, ALIASES) else { return };
    said.has(&[
        "10.200.7.9 of node n2 is in 10.200.7.0/24, which the heartbeat aliases of network net1",
        "== a clash: 1",
        "== aliases: 2 2",
        "10.200.0.2:7420",
        "10.200.7.3:7420",
        "10.200.7.2/24",
        "== after a crash: 2",
        "== and back",
        "== deleted: 1 1",
        "== left: 1 0",
    ]);
}

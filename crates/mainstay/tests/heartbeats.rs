//! One heartbeat for all, between real daemons: IPv4 and IPv6 multicast, broadcast, raw Ethernet. What
//! is sent is counted by the kernel, and addresses and interfaces come and go.

mod script;

use script::{Spaces, run};

/// Three nodes on one wire for each form.
const SCRIPT: &str = r#"
namespaces
wire w0; wire w1; wire w2; wire w3
setup() {
  for wire in 0 1 2 3; do plug $1 w$wire e$wire; done
  addresses $1
}
addresses() {
  number=${1#n}
  ip -n $1 addr replace 10.77.0.$number/24 dev e0
  ip -n $1 addr replace fd77::$number/64 dev e1 nodad
  ip -n $1 addr replace 10.78.0.$number/24 dev e2
}
for number in 1 2 3; do
  node n$number; setup n$number; root n$number
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster 'detection = "normal"' n1 n2 n3)
[[network]]
name = "four"
heartbeat = "multicast"
nodes = { n1 = "10.77.0.1/24", n2 = "10.77.0.2/24", n3 = "10.77.0.3/24" }
[[network]]
name = "six"
heartbeat = "multicast"
nodes = { n1 = "fd77::1/64", n2 = "fd77::2/64", n3 = "fd77::3/64" }
[[network]]
name = "cast"
heartbeat = "broadcast"
nodes = { n1 = "10.78.0.1/24", n2 = "10.78.0.2/24", n3 = "10.78.0.3/24" }
[[network]]
name = "wire"
kind = "ethernet"
nodes = { n1 = "e3", n2 = "e3", n3 = "e3" }
END
done
for number in 1 2 3; do run n$number ip netns exec n$number; done
alive() { test "$(on $1 path list | grep -c "$2.*alive")" = $3; }
for node in n1 n2 n3; do wait_for is_member $node; done
all_alive() { for node in n1 n2 n3; do for net in four six cast wire; do
  alive $node $net 2 || return 1; done; done; }
wait_for all_alive
say "all paths are alive"
# Datagrams to one node, to groups (IPv4), to all, and to groups (IPv6), of this node so far.
column() { ip netns exec n1 awk -v row=$1: -v name=$2 \
  '$1==row && !head { for (i=1;i<=NF;i++) if ($i==name) at=i; head=1; next } $1==row { print $at }' \
  /proc/net/$3; }
sent() {
  single=$(column Udp OutDatagrams snmp); group=$(column IpExt OutMcastPkts netstat)
  all=$(column IpExt OutBcastPkts netstat)
  single6=$(ip netns exec n1 awk '$1=="Udp6OutDatagrams" { print $2 }' /proc/net/snmp6)
  group6=$(ip netns exec n1 awk '$1=="Ip6OutMcastPkts" { print $2 }' /proc/net/snmp6)
}
# In a while all that leaves is for all. (IGMP, MLD and neighbour discovery may speak as well.)
quiet() {
  sent; s=$single g=$group a=$all s6=$single6 g6=$group6
  sleep 3
  sent
  sent_text="$((single-s)) datagrams, $((group-g)) to the group, $((all-a)) to all;"
  sent_text="$sent_text IPv6: $((single6-s6)), $((group6-g6)) to groups"
  test $((group-g)) -ge 10 && test $((all-a)) -ge 10 && test $((group6-g6)) -ge 10 &&
    test $((single-s)) -le $((group-g+all-a)) && test $((single6-s6)) -le $((group6-g6))
}
wait_for quiet
say "all is for all: $sent_text"
ip -n n2 addr del 10.77.0.2/24 dev e0
ip -n n2 addr del fd77::2/64 dev e1
ip -n n2 addr del 10.78.0.2/24 dev e2
wire_only() { alive n1 four 1 && alive n1 six 1 && alive n1 cast 1 && alive n1 wire 2; }
wait_for wire_only
say "without its addresses: over the wire only"
addresses n2
wait_for all_alive
say "addresses are back"
for wire in 0 1 2 3; do ip link del n2-e$wire; done
cut_off() { alive n1 four 1 && alive n1 wire 1; }
wait_for cut_off
setup n2
wait_for all_alive
say "interfaces are back"
wait_for quiet
say "and all is for all again: $sent_text"
"#;

#[test]
fn one_heartbeat_reaches_all() {
    let Some(said) = run(Spaces::NetAndMounts, SCRIPT) else { return };
    said.has(&[
        "== all paths are alive",
        "== all is for all: ",
        "== without its addresses: over the wire only",
        "== addresses are back",
        "== interfaces are back",
        "== and all is for all again: ",
    ]);
    println!("{}", said.output);
}

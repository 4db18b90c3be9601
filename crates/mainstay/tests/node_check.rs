//! A new configuration is checked by each node on its own machine, before it is put in force.

mod script;

use script::{Spaces, run};

/// Two nodes, and a machine that has an address.
const CHECKS: &str = r#"
namespaces
wire w0; wire w1
for n in n1 n2; do
  node $n; root $n
  plug $n w0 eth0; plug $n w0 eth1; plug $n w1 eth2
  ip -n $n addr add 10.1.0.${n#n}/24 dev eth0
  ip -n $n addr add 10.2.0.${n#n}/24 dev eth2
done
node thief; plug thief w0 eth0
ip -n thief addr add 10.1.0.9/24 dev eth0
for last in 102 105; do ip -n thief addr add 10.1.0.$last/32 dev eth0; done
ip -n n1 link set eth1 mtu 1400
ip -n n2 addr add 10.5.0.2/24 dev eth1
ends() { echo "nodes = { n1 = { address = \"10.$1.0.1/24\", $2 }, n2 = { address = \"10.$1.0.2/24\", $2 } }"; }
before() {
  cluster 'tie = "prefer:n1"' n1 n2
  printf '[[network]]\nname = "lan"\n'; ends 1 'interface = "eth0"'
  service taken n1 n2; address ip 10.1.0.101/24
}
for n in n1 n2; do before >$n/etc/mainstay/cluster.toml; done
cat >new.toml <<END
$(cluster 'tie = "prefer:n1"' n1 n2)
[[network]]
name = "lan"
$(ends 1 'interface = "eth0", standby = ["eth1"]')
[[network]]
name = "rep"
takeover = "replacement"
heartbeat_alias = "10.200.0.0/16"
$(ends 2 'interface = "eth2"')
[[hook]]
name = "tell"
event = "swap_adapter"
command = ["/nowhere/tell"]
$(service taken n1 n2; address ip 10.1.0.101/24)
$(service stolen n2; address ip 10.1.0.102/24)
$(service six n1 n2; address ip 10.2.0.100/24)
hardware_address = "$(mac n2 eth0)"
END
show() { sed "s/^/$1: /; s/$(mac thief eth0)/THIEF/; s/$(mac n2 eth0)/CARD/"; }
# Nobody runs: this machine alone is looked at.
ip netns exec n1 "$M" --root $PWD/n1 config check new.toml 2>&1 | show alone
start n1 n2
owned() { stands n1 10.1.0.101 eth0 || stands n2 10.1.0.101 eth0; }
wait_for owned
on n1 config check new.toml | show both
on n1 config apply new.toml | show apply
on n1 config check new.toml | show again
# Nothing of this is wrong with the same machines, otherwise told.
sed 's/10.1.0.102/10.1.0.103/' new.toml >other.toml
on n1 config check other.toml | show free
"$M" --root $PWD/n2 leave >/dev/null
left() { grep -q "path to n2 over network lan: dead$" n1.log; }
wait_for left
sed 's/10.1.0.102/10.1.0.104/' new.toml >other.toml
on n1 config check other.toml | show left
# As many wires of one subnet: an answer from each is waited for.
for i in $(seq 31); do plug n1 w1 d$i; ip -n n1 addr add 10.1.0.$((200 + i))/24 dev d$i; done
runs() { ip -n n1 link show d31 | grep -q LOWER_UP; }
wait_for runs
sed 's/10.1.0.102/10.1.0.105/' new.toml >other.toml
on n1 config check other.toml | show wires
"#;

#[test]
fn each_node_looks_at_its_own_machine_before_a_configuration_is_in_force() {
    let Some(said) = run(Spaces::NetAndMounts, CHECKS) else { return };
    said.has(&[
        "alone: warning: 10.1.0.102 of stolen is in use: THIEF answers for it on eth0 of n1",
        "alone: warning: the hook tell cannot be run on n1",
        "alone: warning: eth1 of n1, a standby in network lan, has an MTU of 1400, and eth0 one of 1500",
        "both: warning: 10.1.0.102 of stolen is in use: THIEF answers for it on eth0 of n1",
        "both: warning: the hook tell cannot be run on n1",
        "both: warning: the hook tell cannot be run on n2",
        "both: warning: eth1 of n1, a standby in network lan, has an MTU of 1400, and eth0 one of 1500",
        "both: warning: eth1 of n2, a standby in network lan, has the address 10.5.0.2",
        "both: warning: CARD of 10.2.0.100 is the hardware address of eth0 of n2",
        "apply: warning: 10.1.0.102 of stolen is in use",
        "apply: warning: eth1 of n2, a standby in network lan, has the address 10.5.0.2 (line",
        "again: new.toml is usable",
        "free: other.toml is usable",
        "left: other.toml is usable",
        "left: warning: n2 did not check it: it cannot be reached",
        "wires: warning: 10.1.0.105 of stolen is in use: THIEF answers for it on eth0 of n1",
    ]);
    let lines = |what: &str| said.output.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("alone: warning: eth1 of n2"), 0, "{}", said.output);
    assert_eq!(lines("wires: warning: n1 did not check"), 0, "{}", said.output);
    assert_eq!(lines("10.1.0.101 of taken"), 0, "{}", said.output);
    assert_eq!(lines("both: warning: 10.1.0.102"), 1, "each is told of once: {}", said.output);
    assert_eq!(lines("again: warning:") + lines("free: warning:"), 0, "{}", said.output);
}

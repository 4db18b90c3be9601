//! Each distribution preference on real interfaces, and what the neighbour cache of a third machine says.

mod script;

use script::{Spaces, run};

/// One node with two interfaces, a persistent address on the first, and somebody outside.
const PREFERENCES: &str = r#"
namespaces
wire w0
node n1; plug n1 w0 eth0; plug n1 w0 eth1; root n1
node out; plug out w0 eth0
ip -n n1 addr add 10.1.0.1/24 dev eth0
ip -n n1 addr add 10.2.0.1/24 dev eth1
ip -n out addr add 10.9.0.200/24 dev eth0
configuration() { cat <<END
$(cluster n1)
[[network]]
name = "lan"
distribution = "$1"
source = "10.9.0.1"
also = { n1 = ["eth1"] }
persistent = { n1 = "10.9.0.5/24" }
nodes = { n1 = { address = "10.1.0.1/24", interface = "eth0" } }
$(service web n1)
$(address one 10.9.0.1/24)
$(address two 10.9.0.2/24)
$(address three 10.9.0.3/24)
END
}
card() { case "$(told $1)" in "$(mac n1 eth0)") echo eth0;; "$(mac n1 eth1)") echo eth1;; *) echo nobody;; esac; }
cards() { echo $(card 10.9.0.1) $(card 10.9.0.2) $(card 10.9.0.3); }
all_told() { for n in 1 2 3; do ask 10.9.0.$n; done; [ "$(cards)" = "$*" ]; }
none() { ! ip -n n1 addr | grep -q "inet 10.9.0.[123]/"; }
configuration least-load >n1/etc/mainstay/cluster.toml
run n1 ip netns exec n1
wait_for stands n1 10.9.0.5 eth0
wait_for stands n1 10.9.0.3 eth1
check() { # DISTRIBUTION EXPECTED…
  name=$1; shift
  before=$(cards)
  configuration $name >new.toml
  on n1 config apply new.toml >/dev/null
  wait_for on n1 service stop web
  wait_for none
  wait_for on n1 service start web
  at=1
  for expected in "$@"; do wait_for stands n1 10.9.0.$at $expected; at=$((at + 1)); done
  wait_for all_told "$@"
  say "$name: the neighbour cache said $before, and says $(cards)"
}
check least-load eth1 eth0 eth1
check collocation eth1 eth1 eth1
check anti-collocation eth1 eth0 eth1
check collocation-with-persistent eth0 eth0 eth0
check anti-collocation-with-persistent eth1 eth1 eth1
check collocation-with-source eth1 eth1 eth1
check anti-collocation-with-source eth1 eth0 eth0
# The interface that a preference wants does not work: the preference is dropped, and no address is down.
configuration collocation-with-persistent >new.toml
on n1 config apply new.toml >/dev/null
ip link set n1-eth0 down
wait_for stands n1 10.9.0.2 eth1; wait_for stands n1 10.9.0.3 eth1
wait_for all_told eth1 eth1 eth1
say "with one interface: $(cards)"
"#;

#[test]
fn each_preference_puts_addresses_where_it_says_and_a_third_machine_knows() {
    let Some(said) = run(Spaces::NetAndMounts, PREFERENCES) else { return };
    said.has(&[
        "== least-load: ",
        "== collocation: the neighbour cache said eth1 eth0 eth1, and says eth1 eth1 eth1",
        "== anti-collocation: ",
        "== collocation-with-persistent: the neighbour cache said eth1 eth0 eth1, and says eth0 eth0 eth0",
        "== anti-collocation-with-persistent: the neighbour cache said eth0 eth0 eth0, and says eth1 eth1 eth1",
        "== collocation-with-source: ",
        "== anti-collocation-with-source: the neighbour cache said eth1 eth1 eth1, and says eth1 eth0 eth0",
        "== with one interface: eth1 eth1 eth1",
    ]);
}

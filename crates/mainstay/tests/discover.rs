//! Machines find each other before there is a cluster, beside a running daemon, and with what stands
//! in their way; and a first configuration is made of what they found.

mod script;

use mainstay::discover::wire::{self, Address, Attempt, Message};
use script::{Spaces, run};

/// Three machines on two wires; the second wire carries no addresses.
const SCRIPT: &str = r#"
namespaces
wire w0; wire w1
for number in 1 2 3; do
  node n$number; plug n$number w0 e0; plug n$number w1 e1
  mkdir -p n$number/etc
  echo "127.0.0.1 localhost" >n$number/etc/hosts
  ip -n n$number addr add 10.77.0.$number/24 dev e0
  ip -n n$number addr add fd77::$number/64 dev e0 nodad
done
on() { node=$1; shift; ip netns exec $node "$M" --root $PWD/$node "$@" 2>&1; }
words="correct horse battery"
# All three at the same time; what the first says is kept.
all() {
  for node in n2 n3; do on $node discover --node-name $node --time 7s "$@" >$node.found & done
  on n1 discover --node-name n1 --time 6s "$@" >n1.found || true
  wait
}
all --secret "$words"
say "all is well"; cat n1.found
say "the others say the same: $(for n in n2 n3; do grep -c 'net_ether_0' $n.found; done | tr '\n' ' ')"
all
say "without words"; head -5 n1.found
# n3 uses other words.
on n2 discover --node-name n2 --time 5s --secret "$words" >n2.found & on n3 discover --node-name n3 --time 5s --secret "other words here" >n3.found &
on n1 discover --node-name n1 --time 4s --secret "$words" >n1.found || true; wait
say "other words: $(grep -c 'n3' n1.found || true) n3, $(grep -c 'n2' n1.found) n2"
# What is in the way: a station that nobody has swallows n1's datagrams to n2, and no frames.
ip -n n1 neigh replace 10.77.0.2 lladdr 02:00:00:00:00:99 dev e0 nud permanent
ip -n n3 link set e1 mtu 1400
ip -n n3 addr add 10.77.0.2/24 dev e1
sed -i 's/localhost/localhost n2/' n2/etc/hosts
ip -n n2 addr add 10.9.0.2/24 dev e1; ip -n n1 addr add 10.8.0.1/24 dev e1
all --secret "$words"
say "in the way"; cat n1.found
ip -n n1 neigh del 10.77.0.2 dev e0
ip -n n3 link set e1 mtu 1500
ip -n n3 addr del 10.77.0.2/24 dev e1
ip -n n2 addr del 10.9.0.2/24 dev e1; ip -n n1 addr del 10.8.0.1/24 dev e1
# The first configuration, and a node beside it.
code=0; on n1 init --node-name n1 --name demo --discover --time 3s --secret "$words" >refused || code=$?
say "alone: $code, $(ls n1/etc)"
code=0; on n1 init --node-name n1 --name demo --discover >refused || code=$?
say "without words: $code"
on n2 discover --node-name n2 --time 8s --secret "$words" >n2.found & 
code=0; on n1 init --node-name n1 --name demo --discover --time 6s --secret "$words" || code=$?
wait
say "init: $code"; cat n1/etc/mainstay/cluster.toml
on n1 config check
run n1 ip netns exec n1
wait_for is_member n1
token=$(on n1 token | head -1)
say "beside a daemon"
on n2 discover --node-name n2 --time 5s --secret "$token" || true
on n3 discover --node-name n3 --time 3s || true
# The daemon and the command on one machine, and twice in a row on the other.
ip -n n1 addr add 10.79.0.1/24 dev e1
on n1 discover --node-name n1 --time 8s --secret "$token" >n1.found &
(on n2 discover --node-name n2 --time 3s --secret "$token"; on n2 discover --node-name n2 --time 5s --secret "$token") >n2.found || true &
sleep 3
say "ports: $(ip netns exec n1 ss -Hlun | grep -c '10.77.0.1:7420' || true) of the loop, $(ip netns exec n1 ss -Hlun | grep -c '10.79.0.1:7420' || true) elsewhere, $(ip netns exec n1 ss -Hlun | grep -c '10.79.0.1:' || true) other"
wait %% || true; sleep 4
say "together"; cat n1.found n2.found
# Once nobody discovers, open datagrams that no frame announced are nobody's business.
sleep 6
say "at rest: $(ip netns exec n1 ss -Hlun | grep -c '10.79.0.1:' || true) other"
# By way of a file: bash writes what it prints line by line, and 10 is in the addresses.
bash -c 'printf "OPEN_TRY" >open-try'
ip netns exec n2 bash -c 'for time in $(seq 10); do cat open-try >/dev/udp/10.77.0.1/7420; sleep 0.2; done'
say "a stranger's datagrams: $(ip netns exec n1 ss -Hlun | grep -c '10.79.0.1:' || true) other"
say "faults: $(cat n1.found n2.found | grep -cE 'several machines|is on n[12]' || true)"
code=0; on n2 join "$token" --node-name n2 --address net_ether_01=10.77.0.2/24 --address net_ether_02=fd77::2/64 || code=$?
say "join: $code"
"#;

#[test]
fn machines_find_each_other_and_what_is_in_the_way() {
    let address = |text: &str| Address(text.parse().expect("an address"));
    let (from, to) = (address("10.77.0.2"), address("10.77.0.1"));
    let attempt = Attempt { machine: 1, from, to, size: 200 };
    let open_try = wire::seal(&Message::Try(attempt), None, 0);
    let open_try: String = open_try.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let script = SCRIPT.replace("OPEN_TRY", &open_try);
    let Some(said) = run(Spaces::NetAndMounts, &script) else { return };
    said.has(&[
        "nodes = { n1 = \"10.77.0.1/24\", n2 = \"10.77.0.2/24\", n3 = \"10.77.0.3/24\" }",
        "nodes = { n1 = \"fd77::1/64\", n2 = \"fd77::2/64\", n3 = \"fd77::3/64\" }",
        "name = \"net_ether_03\"\nkind = \"ethernet\"\nnodes = { n1 = \"e1\", n2 = \"e1\", n3 = \"e1\" }",
        "the others say the same: 3 3",
        "not authenticated: anybody on the wire may have made up what follows",
        "other words: 0 n3",
        "UDP from 10.77.0.1 to 10.77.0.2 port 7420 does not; the other direction works",
        "e1 here has an MTU of 1500, and e1 of n3, on the same wire, 1400",
        "10.77.0.2 is on n2 (e0) and on n3 (e1)",
        "the name n2 leads to 127.0.0.1 on n2",
        "in no subnet in common: there is no route between them",
        "== alone: 64, hosts",
        "== without words: 64",
        "== init: 0",
        "mainstay join TOKEN --node-name n2 --address net_ether_01=10.77.0.2/24",
        "is usable: cluster demo, 1 node, 3 networks",
        "== ports: 1 of the loop, 0 elsewhere, 2 other",
        "== at rest: 0 other",
        "== a stranger's datagrams: 0 other",
        "== faults: 0",
        "== join: 0",
    ]);
    let beside = said.output.split("== beside a daemon").nth(1).expect("it was said");
    assert!(beside.contains("demo"), "the daemon says its cluster to who has a token: {beside}");
    let together = said.output.split("== together").nth(1).expect("it was said");
    let network = "nodes = { n1 = \"10.77.0.1/24\", n2 = \"10.77.0.2/24\" }";
    assert_eq!(together.matches(network).count(), 3, "{together}");
    println!("{}", said.output);
}

//! Paths that come and go while two real nodes run: both halves with one command, a lone half that
//! is named, tests that say what gets through and what is in the way.

mod script;

use script::{Spaces, run};

/// Two nodes on two wires. The first is a network of the configuration; on the second, paths are
/// made by hand.
const SCRIPT: &str = r#"
namespaces
wire w0; wire w1
for number in 1 2; do
  node n$number; plug n$number w0 e0; plug n$number w1 e1; root n$number
  ip -n n$number addr add 10.77.0.$number/24 dev e0
  ip -n n$number addr add 10.78.0.$number/24 dev e1
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster 'detection = "normal"' n1 n2)
[[network]]
name = "net0"
nodes = { n1 = "10.77.0.1/24", n2 = "10.77.0.2/24" }
END
done
for number in 1 2; do run n$number ip netns exec n$number; done
wait_for is_member n1
wait_for is_member n2
paths() { on $1 path list; }
alive() { test "$(paths $1 | grep -c "$2.*alive")" -ge ${3:-1}; }
says() { paths $1 | grep -q "$2"; }
say "a good path: $(on n1 path test n2)"
code=0; on n1 path create n2 10.78.0.1 10.78.0.2 --pair || code=$?
say "pair: $code"
wait_for alive n1 10.78.0.1/10.78.0.2
wait_for alive n2 10.78.0.2/10.78.0.1
say "both halves work"
# A station that nobody has: what n1 sends vanishes without a word, as behind a firewall.
ip -n n1 neigh replace 10.78.0.2 lladdr 02:00:00:00:00:99 dev e1 nud permanent
say "one way: $(on n1 path test n2 --network 10.78.0.1/10.78.0.2)"
say "other way: $(on n2 path test n1 --network 10.78.0.2/10.78.0.1)"
ip -n n1 neigh del 10.78.0.2 dev e1
wait_for alive n1 10.78.0.1/10.78.0.2
ip -n n2 link set e1 mtu 1300
say "a small MTU: $(on n1 path test n2 --network 10.78.0.1/10.78.0.2)"
ip -n n2 link set e1 mtu 1500
ip -n n2 addr del 10.78.0.2/24 dev e1
ip -n n1 neigh flush dev e1
say "no address: $(on n1 path test n2 --network 10.78.0.1/10.78.0.2)"
ip -n n2 addr add 10.78.0.2/24 dev e1
wait_for alive n1 10.78.0.1/10.78.0.2
code=0; on n2 path delete n1 10.78.0.2 10.78.0.1 || code=$?
say "half a delete: $code"
wait_for says n1 "n2 has no half of this path; on n2: mainstay path create n1 10.78.0.2 10.78.0.1"
say "the missing half is named"
say "and in the status: $(on n1 status | grep -c 'n2 has no half of this path')"
code=0; on n1 path delete n2 10.78.0.1 10.78.0.2 --pair || code=$?
say "delete the rest: $code"
code=0; on n1 path create n2 e1 --ethernet --pair --name wire || code=$?
say "ethernet: $code"
wait_for alive n1 wire
say "over Ethernet: $(on n1 path test n2 --network wire)"
on n1 path delete n2 e1 --ethernet --pair --name wire
head -c 9M /dev/zero >disk
code=0; on n1 disk init $PWD/disk || code=$?
say "disk: $code"
if test $code = 0; then
  on n1 path create '*' $PWD/disk --disk --pair
  wait_for alive n1 $PWD/disk
  wait_for alive n2 $PWD/disk
  say "over a disk: $(on n1 path test n2 --network $PWD/disk --count 4)"
fi
code=0; on n1 path create n3 10.78.0.1 10.78.0.3 --pair || code=$?
say "to nobody: $code"
on n2 leave
gone_member() { on n1 node list | grep n2 | grep -qv member; }
wait_for gone_member
code=0; on n1 path create n2 10.78.0.1 10.78.0.2 --pair || code=$?
say "to one that is away: $code"
code=0; on n1 path create n2 10.78.0.1 10.78.0.2 || code=$?
code=0; on n1 path delete n2 10.78.0.1 10.78.0.2 --pair || code=$?
say "take the own half back alone: $code"
code=0; says n1 10.78.0.1/10.78.0.2 || code=$?
say "it is gone: $code"
"#;

#[test]
fn paths_come_and_go_and_are_tested() {
    let Some(said) = run(Spaces::NetAndMounts, SCRIPT) else { return };
    said.has(&[
        "a good path: probing",
        "20 sent, 20 arrived, 0.0% lost, up to 1472 bytes whole",
        "n2: this node has its half of the path 10.78.0.2/10.78.0.1 to n1",
        "== pair: 0",
        "== both halves work",
        "nothing that this node sends arrives at n2: a firewall",
        "20 of 20 arrive at n1, and nothing of what it answers comes back",
        "different MTUs",
        "only 1300 pass",
        "nobody has the address of 10.78.0.2:7420",
        "here: this node has no path 10.78.0.1/10.78.0.2 to n2 any more",
        "== the missing half is named",
        "== delete the rest: 0",
        "== ethernet: 0",
        "up to 1500 bytes whole",
        "== disk: 0",
        "== over a disk: probing",
        "4 sent, 4 arrived, 0.0% lost\n",
        "there is no other node n3",
        "== to nobody: 1",
        "n2 cannot be reached, so it cannot be told",
        "== to one that is away: 1",
        "n2 cannot be reached, so it cannot be told; if it has its half, on n2: mainstay path delete \
         n1 10.78.0.2 10.78.0.1",
        "== take the own half back alone: 0",
        "== it is gone: 1",
    ]);
    println!("{}", said.output);
}

/// Three nodes, one of which cannot have the half that is asked of it: number 1 is taken there.
const REFUSED: &str = r#"
namespaces
wire w0; wire w1
for number in 1 2 3; do
  node n$number; plug n$number w0 e0; plug n$number w1 e1; root n$number
  ip -n n$number addr add 10.77.0.$number/24 dev e0
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster 'detection = "normal"' n1 n2 n3)
[[network]]
name = "net0"
nodes = { n1 = "10.77.0.1/24", n2 = "10.77.0.2/24", n3 = "10.77.0.3/24" }
END
done
start n1 n2 n3
on n3 path create '*' e1 --ethernet --name other
code=0; on n1 path create '*' e1 --ethernet --pair --name wire || code=$?
say "one refuses: $code"
for number in 1 2 3; do
  say "links of n$number: $(grep -c wire n$number/etc/mainstay/paths.toml 2>/dev/null)"
done
on n3 path delete '*' e1 --ethernet --name other
code=0; on n1 path create '*' e1 --ethernet --pair --name wire || code=$?
say "nobody refuses: $code"
for number in 1 2 3; do
  say "now n$number: $(grep -c wire n$number/etc/mainstay/paths.toml 2>/dev/null)"
done
"#;

#[test]
fn what_one_node_refuses_leaves_no_half_on_another() {
    let Some(said) = run(Spaces::NetAndMounts, REFUSED) else { return };
    said.has(&[
        "nothing was changed here",
        "n3: number 1 is taken already",
        "n2: this node has no path wire to * any more",
        "== one refuses: 1",
        "== links of n1: \n",
        "== links of n2: 0",
        "== links of n3: 0",
        "== nobody refuses: 0",
        "== now n1: 1",
        "== now n2: 1",
        "== now n3: 1",
    ]);
}

/// Six nodes on a network that is monitored as a ring: n4 and n6 watch each other's neighbours only,
/// and the centre.
const RING: &str = r#"
namespaces
wire w0; wire w1
for number in 1 2 3 4 5 6; do
  node n$number; plug n$number w0 e0; plug n$number w1 e1; root n$number
  ip -n n$number addr add 10.77.0.$number/24 dev e0
  ip -n n$number addr add 10.78.0.$number/24 dev e1
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster 'detection = "normal"' n1 n2 n3 n4 n5 n6)
[[network]]
name = "net0"
monitor = "ring"
[network.nodes]
END
  for other in 1 2 3 4 5 6; do
    printf 'n%s = "10.77.0.%s/24"\n' $other $other
  done >>n$number/etc/mainstay/cluster.toml
done
start n1 n2 n3 n4 n5 n6
rests() { on $1 path list | grep "$2 " | grep -q resting; }
alive() { on $1 path list | grep "$2" | grep -q alive; }
pair=""
for one in 3 4 5 6; do for other in 3 4 5 6; do
  if test -z "$pair" -a $one != $other; then
    settled() { test "$(on n$one path list | grep -c resting)" -ge 1; }
    wait_for settled
    if rests n$one n$other; then pair="$one $other"; fi
  fi
done; done
set -- $pair
say "two that rest: $#"
code=0; on n$1 path create n$2 10.78.0.$1 10.78.0.$2 --pair || code=$?
say "pair: $code"
wait_for alive n$1 10.78.0.$1/10.78.0.$2
wait_for alive n$2 10.78.0.$2/10.78.0.$1
code=0; on n$1 path delete n$2 10.78.0.$1 10.78.0.$2 --pair || code=$?
say "delete: $code"
wait_for rests n$1 n$2
code=0; on n$1 path test n$2 --count 601 || code=$?
say "too many probes: $code"
"#;

#[test]
fn both_halves_are_made_where_paths_rest() {
    let Some(said) = run(Spaces::NetAndMounts, RING) else { return };
    said.has(&[
        "== two that rest: 2",
        "this node has its half of the path",
        "== pair: 0",
        "== delete: 0",
        "601 probes are not possible over net0: a path of kind udp takes 1 to 600",
        "== too many probes: 1",
    ]);
    assert!(!said.output.contains("cannot be reached"), "{}", said.output);
}

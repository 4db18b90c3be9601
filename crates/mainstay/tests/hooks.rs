//! Hooks of an administrator, run by real daemons whose interfaces fail.

mod script;

use script::{Spaces, run};

/// Two nodes with a standby each on one wire, and a second wire for what they have to tell each other.
const HOOKS: &str = r#"
namespaces
wire w0; wire w1
cat >tell <<'END'
#!/bin/sh
stands() { ip -o addr show dev $1 | grep -c "10.1.0.1/24"; }
say="$MAINSTAY_HOOK $MAINSTAY_WHEN $MAINSTAY_EVENT $MAINSTAY_NETWORK"
say="$say $MAINSTAY_SCOPE [$MAINSTAY_NODES] $MAINSTAY_INTERFACE>$MAINSTAY_TO_INTERFACE"
say="$say [$MAINSTAY_ADDRESSES] $MAINSTAY_RESULT eth0:$(stands eth0) eth1:$(stands eth1)"
echo "$say" >>$1/$MAINSTAY_NODE.told
END
cat >broken <<'END'
#!/bin/sh
test -e $1/mended && exit
echo "looking for paper"; echo "no paper" >&2; exit 3
END
cat >hang <<'END'
#!/bin/sh
trap '' TERM
sleep 1000 & echo $! >$1/hung
setsid sleep 1000 & echo $! >>$1/hung
wait
END
chmod +x tell hang
for number in 1 2; do
  node n$number; root n$number
  plug n$number w0 eth0; plug n$number w0 eth1; plug n$number w1 eth2
  ip -n n$number addr add 10.1.0.$number/24 dev eth0
  ip -n n$number addr add 10.2.0.$number/24 dev eth2
  cat >n$number/etc/mainstay/cluster.toml <<END
$(cluster 'tie = "manual"' n1 n2)
[[network]]
name = "lan"
poll_interval = "250ms"
polls = 3
[network.nodes]
n1 = { address = "10.1.0.1/24", interface = "eth0", standby = ["eth1"] }
n2 = { address = "10.1.0.2/24", interface = "eth0", standby = ["eth1"] }
[[network]]
name = "back"
nodes = { n1 = "10.2.0.1/24", n2 = "10.2.0.2/24" }
[[hook]]
name = "prepare"
event = "swap_adapter"
when = "before"
command = ["$PWD/tell", "$PWD"]
[[hook]]
name = "tell"
event = ["swap_adapter", "join_standby", "fail_standby", "network_down", "network_up"]
networks = ["lan"]
command = ["$PWD/tell", "$PWD"]
[[hook]]
name = "broken"
event = "swap_adapter"
command = ["$PWD/broken", "$PWD"]
END
done
on n1 config check
chmod +x broken
on n1 config check | grep -c "cannot be run" || say "all can be run"
sed 's/"swap_adapter"$/"network_down"/' n1/etc/mainstay/cluster.toml >early.toml
code=0; on n1 config check early.toml || code=$?
say "too early: $code"
start n1 n2
for number in 1 2; do
  wait_for shows n$number "eth0 +primary +up"
  wait_for shows n$number "eth1 +standby +up"
done
heard() { grep -F -q -- "$1" $PWD/${2:-n1}.told; }
event() { on n1 events | grep -Eq "$1"; }
warned() { on n1 status | grep -q "hook broken after swap_adapter of lan: exit 3 .*no paper"; }
fine() { ! warned; }
fine

# The primary fails.
ip link set n1-eth0 down
wait_for heard "tell after swap_adapter"
wait_for event "hook broken after swap_adapter of lan: exit 3 after [0-9]+ ms: no paper"
wait_for event "hook prepare before swap_adapter of lan: ended 0 after [0-9]+ ms"
wait_for warned
stands n1 10.1.0.1 eth1
say "a switch"; grep swap_adapter n1.told
on n1 --json events | grep -A3 '"code": "hook"' | grep -q '"level": "warning"'

# It works again, and the hook that failed is mended.
touch mended
ip link set n1-eth0 up
wait_for heard "prepare before swap_adapter lan  [] eth1>eth0 [10.1.0.1]  eth0:0 eth1:1"
wait_for heard "tell after swap_adapter lan  [] eth1>eth0 [10.1.0.1] done eth0:1 eth1:0"
wait_for fine
say "and back"

# The standby fails and works again.
ip link set n1-eth1 down
wait_for heard "tell after fail_standby lan  [] eth1> []"
ip link set n1-eth1 up
wait_for heard "tell after join_standby lan  [] eth1> []"

# A hook that hangs, put in force while the nodes run.
cp n1/etc/mainstay/cluster.toml new.toml
cat >>new.toml <<END
[[hook]]
name = "hang"
event = "swap_adapter"
when = "before"
command = ["$PWD/hang", "$PWD"]
timeout = "2s"
END
on n1 config apply new.toml
on n1 --json bound | grep -o "wait up to 13s for the hooks before swap_adapter"
ip link set n1-eth0 down
wait_for test -s hung
stands n1 10.1.0.1 eth0
wait_for stands n1 10.1.0.1 eth1
late="hook hang before swap_adapter of lan: timed out after 2s, killed; the addresses go all the same"
wait_for event "$late"
say "late"; on n1 events | grep -o "$late"
for pid in $(cat hung); do
  if kill -0 $pid 2>/dev/null && ! grep -q ") Z " /proc/$pid/stat; then say "$pid lives"; exit 1; fi
done
test "$(wc -l <hung)" = 2

# Nothing is left of the network here; the other node has it.
ip link set n1-eth1 down
wait_for heard "tell after network_down lan local [n1]" n1
wait_for heard "tell after network_down lan local [n1]" n2
say "alone"
ip link set n1-eth0 up; ip link set n1-eth1 up
wait_for heard "tell after network_up lan" n1

# The daemon ends, and takes what runs with it.
wait_for stands n1 10.1.0.1 eth0
sed -i 's/timeout = "2s"/timeout = "20s"/' new.toml
on n1 config apply new.toml
rm hung
ip link set n1-eth0 down
wait_for test -s hung
on n1 leave
ended() { for pid in $(cat hung); do if kill -0 $pid 2>/dev/null; then return 1; fi; done; }
wait_for ended
say "nothing is left"
"#;

#[test]
fn hooks_run_before_and_after_what_happens_to_networks() {
    let Some(said) = run(Spaces::NetAndMounts, HOOKS) else { return };
    said.has(&[
        "is usable: cluster demo, 2 nodes, 2 networks",
        "the hook broken cannot be run on n1: /",
        "/broken is not executable",
        "== all can be run",
        "no hook can be run before network_down",
        "== too early: 1",
        "== a switch\n\
         prepare before swap_adapter lan  [] eth0>eth1 [10.1.0.1]  eth0:1 eth1:0\n\
         tell after swap_adapter lan  [] eth0>eth1 [10.1.0.1] done eth0:0 eth1:1\n",
        "== and back",
        "wait up to 13s for the hooks before swap_adapter",
        "== late\nhook hang before swap_adapter of lan: timed out after 2s, killed",
        "== alone",
        "== nothing is left",
    ]);
}

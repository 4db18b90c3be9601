//! A real second owner of service addresses: before they are claimed, and while they are owned.

mod script;

use script::{Spaces, run};

/// One node, a machine that takes addresses, and one that only looks.
const CONFLICTS: &str = r#"
namespaces
wire w0
node n1; plug n1 w0 eth0; root n1
node thief; plug thief w0 eth0
node out; plug out w0 eth0
ip -n n1 addr add 10.1.0.1/24 dev eth0
ip -n n1 addr add fd01::1/64 dev eth0 nodad
ip -n thief addr add 10.1.0.9/24 dev eth0
ip -n out addr add 10.1.0.200/24 dev eth0
# A service with one address, for its way with a conflict: contested NAME WAY ADDRESS
contested() { service $1 n1; echo "on_conflict = \"$2\""; address ip $3; }
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster n1)
[[network]]
name = "lan"
nodes = { n1 = { address = "10.1.0.1/24", interface = "eth0" } }
$(contested defend defend 10.1.0.101/24)
$(contested yield yield 10.1.0.102/24)
$(contested alarm alarm 10.1.0.103/24)
$(contested six yield fd01::102/64)
END
# The thief asks for the node's station with the address as its own: all on the wire hear it.
steal() {
  ip -n thief neigh flush all
  ip -n thief route replace 10.1.0.1/32 dev eth0 src $1
  ip netns exec thief bash -c "echo >/dev/udp/10.1.0.1/9" || true
}
lost() { for _ in $(seq 60); do steal $1; sleep 0.5; absent n1 $1 eth0 && return; done; return 1; }

# Somebody has an address before anything runs here.
ip -n thief addr add 10.1.0.102/32 dev eth0
ip netns exec n1 "$M" --root $PWD/n1 config check 2>&1
ip -n thief addr del 10.1.0.102/32 dev eth0
ip netns exec n1 "$M" --root $PWD/n1 config check 2>&1 | sed 's/^/free: /'
ip -n thief addr add 10.1.0.102/32 dev eth0
run n1 ip netns exec n1; n1=$!
wait_for stands n1 10.1.0.101 eth0; wait_for stands n1 10.1.0.103 eth0; wait_for stands n1 fd01::102 eth0
refused() { on n1 why yield | grep -q "it is used by $(mac thief eth0)"; }
wait_for refused
absent n1 10.1.0.102 eth0
say "not claimed"; on n1 why yield | head -4
ip -n thief addr del 10.1.0.102/32 dev eth0
wait_for on n1 service clear yield
on n1 service start yield || true
wait_for stands n1 10.1.0.102 eth0
say "claimed when it was free"

# Defended: those outside find the way back.
wait_for sends 10.1.0.101 $(mac n1 eth0)
ip -n thief addr add 10.1.0.101/32 dev eth0
steal 10.1.0.101
said() { on n1 status | grep -q "10.1.0.101 of defend is also used by $(mac thief eth0)"; }
wait_for said
ip -n thief addr del 10.1.0.101/32 dev eth0
wait_for sends 10.1.0.101 $(mac n1 eth0)
stands n1 10.1.0.101 eth0
say "defended"

# Said, and nothing else.
ip -n thief addr add 10.1.0.103/32 dev eth0
for _ in 1 2 3; do steal 10.1.0.103; sleep 0.5; done
alarmed() { on n1 status | grep -q "10.1.0.103 of alarm is also used by $(mac thief eth0)"; }
wait_for alarmed
stands n1 10.1.0.103 eth0
ip -n thief addr del 10.1.0.103/32 dev eth0
say "alarmed"

# Given up, and failed there.
ip -n thief addr add 10.1.0.102/32 dev eth0
lost 10.1.0.102
failed() { on n1 why yield | grep -q "used by $(mac thief eth0)"; }
wait_for failed
absent n1 10.1.0.102 eth0
stands n1 10.1.0.101 eth0
say "given up"; on n1 why yield | head -4

# IPv6: who asks for a neighbour says by that whose address it sends from.
ip -n thief addr add fd01::102/64 dev eth0 nodad
steal_six() {
  ip -n thief -6 neigh flush dev eth0
  ip netns exec thief bash -c "echo >/dev/udp/fd01::1/9" || true
}
lost_six() { for _ in $(seq 60); do steal_six; sleep 0.5; absent n1 fd01::102 eth0 && return; done; return 1; }
lost_six
failed_six() { on n1 why six | grep -q "used by $(mac thief eth0)"; }
wait_for failed_six
say "given up, IPv6"
"#;

#[test]
fn a_second_owner_is_found_defended_against_told_of_and_yielded_to() {
    let Some(said) = run(Spaces::NetAndMounts, CONFLICTS) else { return };
    said.has(&[
        "warning: 10.1.0.102 of yield is in use: ",
        "answers for it on eth0",
        "address = \"10.1.0.102/24\"",
        "if no node of this cluster has it: a start of yield waits for it and fails",
        "free: ",
        "== not claimed",
        "== claimed when it was free",
        "== defended",
        "== alarmed",
        "== given up",
        "== given up, IPv6",
    ]);
    assert!(!said.output.contains("free: warning"), "{}", said.output);
    assert!(said.logs.contains("10.1.0.102 of yield is given up: it is used by"), "{}", said.logs);
}

//! Service addresses that take the place of boot addresses, and bring a hardware address, on real interfaces.

mod script;

use script::{Spaces, run};

/// Two nodes, the first with an interface that stands by, and somebody outside.
const REPLACED: &str = r#"
namespaces
wire w0
node n1; plug n1 w0 eth0; plug n1 w0 eth1; root n1
node n2; plug n2 w0 eth0; root n2
node out; plug out w0 eth0
ip -n n1 addr add 10.1.0.1/24 dev eth0
ip -n n1 addr add 10.2.0.1/24 dev eth1
ip -n n1 route add default via 10.1.0.200 src 10.1.0.1
ip -n n2 addr add 10.1.0.2/24 dev eth0
ip -n out addr add 10.1.0.200/24 dev eth0
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster 'tie = "prefer:n1"' n1 n2)
[[network]]
name = "lan"
takeover = "replacement"
heartbeat_alias = "10.200.0.0/16"
also = { n1 = ["eth1"] }
nodes = { n1 = { address = "10.1.0.1/24", interface = "eth0" }, n2 = { address = "10.1.0.2/24", interface = "eth0" } }
$(service web n1 n2)
$(address ip 10.1.0.100/24)
hardware_address = "02:00:0a:01:00:64"
END
cp n1/etc/mainstay/cluster.toml n2/etc/mainstay/
on n1 config check
H=02:00:0a:01:00:64
M1=$(mac n1 eth0); M1S=$(mac n1 eth1); M2=$(mac n2 eth0)
is_mac() { [ "$(mac $1 $2)" = $3 ]; }
# Whether who has the address answers somebody who has forgotten all.
found() { ip -n out neigh flush all; ask $1; sleep 0.2; [ "$(told $1)" = $2 ]; }
both() { "$M" --root n1 --json membership | grep -q '"n2"' && is_member n2; }
has_boot() { stands n1 10.1.0.1 eth0 && absent n1 10.1.0.100 eth0 && is_mac n1 eth0 $M1; }
has_service() { stands n1 10.1.0.100 eth0 && absent n1 10.1.0.1 eth0 && is_mac n1 eth0 $H; }
run n1 ip netns exec n1; n1=$!
run n2 ip netns exec n2; n2=$!
wait_for has_service
wait_for both
wait_for found 10.1.0.100 $H
ip -n n1 route show default | grep -q "src 10.1.0.100"
ip -n n1 route get 10.1.0.200 | grep -q "src 10.1.0.100"
say "in its place: boot address away, hardware address $(mac n1 eth0), route back by $(ip -n n1 route show default | sed 's/.* src//')"

# Stopped and started again: all is as it was.
on n1 service stop web
has_boot
ip -n n1 route show default | grep -q "src 10.1.0.1 "
[ -z "$(ip -n n1 route show proto 77)" ]
wait_for found 10.1.0.1 $M1
say "put back"
on n1 service start web
wait_for has_service

# A daemon that is killed goes on with what it took, and gives it back.
before=$(cat /proc/$n1/task/$n1/children)
kill -9 $before
adopted() { on n1 why web | grep -q "it was there when the daemon came back"; }
wait_for adopted
has_service
say "adopted"
on n1 service stop web
has_boot
say "put back by another daemon"
on n1 service start web
wait_for has_service

# Its interface fails: the one that stands by takes over, though it is in another subnet.
ip link set n1-eth0 down
on_standby() { stands n1 10.1.0.100 eth1 && absent n1 10.2.0.1 eth1 && is_mac n1 eth1 $H; }
wait_for on_standby
has_boot
ip -n n1 route get 10.1.0.200 | grep -q "dev eth1 src 10.1.0.100"
sends 10.1.0.100 $H
ip link set n1-eth0 up
say "on the interface that stands by"
wait_for both

# To the other node: nobody outside can tell.
wait_for on n1 service move web n2
there() { stands n2 10.1.0.100 eth0 && absent n2 10.1.0.2 eth0 && is_mac n2 eth0 $H; }
wait_for there
stands n1 10.2.0.1 eth1; is_mac n1 eth1 $M1S; has_boot
sends 10.1.0.100 $H
wait_for found 10.1.0.100 $H
wait_for both
say "moved: the neighbour outside still sends to $(told 10.1.0.100)"

# Guard and daemon are killed at one moment, else either would notice that the other is gone: the next ones put
# back what was left.
both_of_n2="$n2 $(cat /proc/$n2/task/$n2/children)"
kill -STOP $both_of_n2
kill -9 $both_of_n2
wait_for stands n1 10.1.0.100 eth0
wait_for found 10.1.0.100 $H
is_mac n2 eth0 $H
run n2 ip netns exec n2
mended() { stands n2 10.1.0.2 eth0 && absent n2 10.1.0.100 eth0 && is_mac n2 eth0 $M2; }
wait_for mended
wait_for both
wait_for found 10.1.0.100 $H
say "mended after both were killed"
"#;

#[test]
fn a_boot_address_goes_and_comes_back_with_its_hardware_address() {
    let Some(said) = run(Spaces::NetAndMounts, REPLACED) else { return };
    said.has(&[
        "== in its place: boot address away, hardware address 02:00:0a:01:00:64",
        "== put back",
        "== adopted",
        "== put back by another daemon",
        "== on the interface that stands by",
        "== moved: the neighbour outside still sends to 02:00:0a:01:00:64",
        "== mended after both were killed",
    ]);
    let places = "10.1.0.100 takes the place of 10.1.0.1/24 and the hardware address";
    assert!(said.logs.contains(places), "{}", said.logs);
    assert!(said.logs.contains("eth0 has 10.1.0.1/24 and the hardware address"), "{}", said.logs);
}

//! `cmviewcl` and `cmmodnet` against a real node, as a script would call them.

mod script;

use script::{Spaces, run};

const SCRIPT: &str = r#"
namespaces
wire w0
node n1; plug n1 w0 eth0; plug n1 w0 eth1; root n1
ip -n n1 addr add 10.0.0.1/24 dev eth0
ip -n n1 addr add 10.3.0.1/24 dev eth0
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster n1)
[[network]]
name = "net0"
poll_interval = "250ms"
nodes = { n1 = { address = "10.0.0.1/24", interface = "eth0", standby = ["eth1"] } }
$(service web n1)
$(address ip 10.0.0.100/24)
END
"$M" faces --link $PWD >/dev/null
export MAINSTAY_ROOT=$PWD/n1
code() { code=0; "$@" 2>&1 || code=$?; echo "($code)"; }
say "nobody there"; code ./cmviewcl
start n1
up() { ./cmviewcl -v | grep -q "$1 *up  *$2"; }
wait_for up PRIMARY eth0; wait_for up STANDBY eth1
owned() { ./cmviewcl -l package -f line | grep -qx "package:web|owner=n1"; }
wait_for owned
say "listing"; ./cmviewcl | sed 's/ *$//'
say "addresses"
code ./cmmodnet -v -t -i 10.0.0.100 10.0.0.0
code ./cmmodnet -v -a -i 10.0.0.100 10.0.0.0
code ./cmmodnet -r -i 10.0.0.100 10.0.0.0
code ./cmmodnet -t -i 10.0.0.100 10.9.0.0
code ./cmmodnet -a -i 10.0.0.100 10.3.0.0
code ./cmmodnet -a -i 10.0.0.7 10.0.0.0
say "disabled"
code ./cmmodnet -d eth0
disabled() { ./cmviewcl -v | grep -q "PRIMARY *down (disabled) *eth0"; }
wait_for disabled
./cmviewcl -v -f line | grep "interface:eth0|disabled"
code ./cmmodnet -e eth0
wait_for up PRIMARY eth0
say "refused"
code ./cmmodnet -d eth9
code ./cmmodnet -a eth0 | tail -n 1
"#;

#[test]
fn a_cluster_is_viewed_and_its_interfaces_are_disabled() {
    let Some(said) = run(Spaces::NetAndMounts, SCRIPT) else { return };
    said.has(&[
        "cmviewcl: the daemon is not reachable",
        "== listing\n\nCLUSTER        STATUS\ndemo           up\n\n  NODE           STATUS       STATE\n",
        "    web            up               running          enabled     n1\n",
        "10.0.0.100 can be added to eth0\n(0)",
        "10.0.0.100 is on eth0\n(0)",
        "cmmodnet: 10.0.0.100 stays on eth0 as long as service web runs here",
        "cmmodnet: no interface of this node has the subnet 10.9.0.0\n(1)",
        "cmmodnet: 10.0.0.100 is not in the subnet 10.3.0.0/24\n(1)",
        "cmmodnet: 10.0.0.7 belongs to no service",
        "== disabled\n(0)",
        "node:n1|interface:eth0|disabled=true",
        "cmmodnet: no network of this node has an interface eth9",
        "== refused",
    ]);
    assert!(said.output.trim_end().ends_with("(1)"), "{}", said.output);
}

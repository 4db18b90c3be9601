//! Whether the gateway has learned where a service address went: with a gateway that learns, one that does not,
//! and one that answers nobody.

mod script;

use script::{Spaces, run};

/// Two nodes, and a gateway whose neighbour table decides.
const GATEWAY: &str = r#"
namespaces
wire w0
for node in n1 n2 gw; do node $node; plug $node w0 eth0; done
for number in 1 2; do
  root n$number
  ip -n n$number addr add 10.1.0.$number/24 dev eth0
  ip -n n$number addr add fd01::$number/64 dev eth0 nodad
done
ip -n gw addr add 10.1.0.254/24 dev eth0
ip -n gw addr add fd01::254/64 dev eth0 nodad
cat >cluster.toml <<END
$(cluster 'tie = "prefer:n1"' n1 n2)
[[network]]
name = "four"
nodes = { n1 = "10.1.0.1/24", n2 = "10.1.0.2/24" }
gateways = ["10.1.0.254"]
verify_gateways = true
[[network]]
name = "six"
nodes = { n1 = "fd01::1/64", n2 = "fd01::2/64" }
gateways = ["fd01::254"]
verify_gateways = true
$(service web n1 n2)
$(address four 10.1.0.100/24)
$(address six fd01::100/64)
END
for node in n1 n2; do cp cluster.toml $node/etc/mainstay/; run $node ip netns exec $node; done
# NODE WORDS: what it shows now, and what it has told.
warns() { on $1 status | grep -q "$2"; }
silent() { ! warns $1 "$2"; }
tells() { on $1 events | grep -q "$2"; }
state() { on $1 status --json | tr -d ' \n' | grep -q "\"gateway\":\"$2\",\"state\":\"$3\""; }
both() { words=$1; shift; for gateway in 10.1.0.254 fd01::254; do "$@" "$(echo "$words" | sed "s/GATEWAY/$gateway/")" || return 1; done; }
wait_for is_member n1
on n1 config check

# A gateway that learns.
wait_for state n1 10.1.0.254 learned
wait_for state n1 fd01::254 learned
unsaid() { ! tells "$@"; }
unsaid n1 "has learned "
silent n1 "gateway-"
say "learned"; on n1 why web | grep "has learned it after" | sed 's/after .*//'

# One whose table nothing changes: the address goes, and the service is up as soon as ever.
for address in 10.1.0.100 fd01::100; do
  ip -n gw neigh replace $address lladdr $(mac n1 eth0) dev eth0 nud permanent
done
wait_for on n1 service move web n2
wait_for stands n2 10.1.0.100 eth0; wait_for stands n2 fd01::100 eth0
wait_for both "gateway GATEWAY has not learned where " warns n2
both "gateway GATEWAY has not learned where " tells n2
state n2 10.1.0.254 not-learned
state n2 fd01::254 not-learned
# Echo requests have taught it nothing.
ip -n gw neigh show 10.1.0.100 | grep -q "$(mac n1 eth0)"
silent n1 "has not learned"
say "not learned"; on n2 status | grep "gateway .*has not learned" | sed 's/^ *//'
on n2 service list | grep web | sed 's/  */ /g'

# Mended there, and noticed here.
for address in 10.1.0.100 fd01::100; do ip -n gw neigh del $address dev eth0; done
wait_for both "gateway GATEWAY has learned " tells n2
wait_for silent n2 "has not learned"
state n2 10.1.0.254 learned
state n2 fd01::254 learned
say "mended"

# One that answers nobody is not accused.
ip netns exec gw sh -c 'echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all'
ip netns exec gw sh -c 'echo 1 >/proc/sys/net/ipv6/icmp/echo_ignore_all'
wait_for on n2 service move web n1
wait_for both "whether gateway GATEWAY has learned .* cannot be told" warns n1
silent n1 "has not learned"
state n1 10.1.0.254 untold
say "untold"; on n1 status | grep "cannot be told" | sed 's/^ *//'
# Of an address that is not here there is nothing to tell.
wait_for on n1 service stop web
wait_for silent n1 "cannot be told"
say "released"
"#;

#[test]
fn a_gateway_that_sends_elsewhere_is_told_of_until_it_has_learned() {
    let Some(said) = run(Spaces::NetAndMounts, GATEWAY) else { return };
    said.has(&[
        "== learned",
        "gateway  10.1.0.254 has learned it",
        "gateway  fd01::254 has learned it",
        "== not learned",
        "gateway 10.1.0.254 has not learned where 10.1.0.100 of web is",
        "gateway fd01::254 has not learned where fd01::100 of web is",
        "== mended",
        "== untold",
        "whether gateway 10.1.0.254 has learned 10.1.0.100 of web cannot be told: it answers no address",
        "== released",
    ]);
}

//! LLT's commands against real daemons: two nodes in network namespaces, joined by two wires, from
//! the files of a guide to `lltstat`, through links to the program. Then a wire fails, a third node
//! comes with a number that is taken, and links come and go while the nodes run.

mod script;

use script::Spaces;

/// Each wire is a bridge in the outer namespace.
const SCRIPT: &str = r#"
namespaces
ln -s "$M" lltconfig
ln -s "$M" lltstat
# on NODE COMMAND…: as that node's administrator.
on() { node=$1; shift; MAINSTAY_ROOT=$PWD/$node ip netns exec $node ./"$@" 2>&1; }
say() { node=$1; shift; echo "[$node]# $*"; on $node "$@"; }
shows() { on "$1" $2 | tr -s ' ' | grep -q -- "$3"; }
for wire in qfe0 hme0; do ip link add $wire type bridge; ip link set $wire up; done
for node in athena zeus otehllo; do
  ip netns add $node
  for wire in qfe0 hme0; do
    ip link add $node-$wire type veth peer name $wire netns $node
    ip link set $node-$wire master $wire up
    ip -n $node link set $wire up
  done
  mkdir -p $node/etc/mainstay
  printf '%064d\n' 7 >$node/etc/mainstay/key
  chmod 600 $node/etc/mainstay/key
  printf '0 athena\n1 zeus\n' >$node/etc/llthosts
  cat >$node/etc/llttab <<END
set-node $node
set-cluster 10
set-timer heartbeat:20 peertrouble:50 peerinact:100
link qfe0 /dev/qfe:0 - ether - -
link hme0 /dev/hme:0 - ether - \-
END
done
ip -n athena link set qfe0 address 08:00:20:93:0e:34
ip -n athena link set hme0 address 08:00:20:93:0e:35
ip -n zeus link set qfe0 address 08:00:20:8f:d1:f2
ip -n zeus link set hme0 address 08:00:20:8f:d1:f3
code=0; say athena lltconfig || code=$?
echo "== $code"
chmod 644 athena/etc/mainstay/key
code=0; on athena lltconfig -c >refused || code=$?
echo "== with an open key: $code, $(grep -c 'make one on one node' refused), $(ls athena/etc/mainstay)"
chmod 600 athena/etc/mainstay/key
say athena lltconfig -c
say zeus lltconfig -c
cmp athena/etc/mainstay/cluster.toml zeus/etc/mainstay/cluster.toml
wait_for shows athena "lltstat -n" "1 zeus OPEN 2"
wait_for shows zeus "lltstat -n" "0 athena OPEN 2"
wait_for "$M" --root athena membership
say athena lltconfig
say athena lltconfig -a list
say athena lltstat -n
say zeus lltstat -nvv active
echo "== verbose: $(on zeus lltstat -nvv | grep -c CONNWAIT) wait"
say athena lltconfig -T query
code=0; say athena lltconfig -T peerinact:1600 || code=$?
echo "== $code"
say athena lltstat -l
say athena lltstat -p
ip -n zeus link set hme0 down
wait_for shows zeus "lltstat -nvv active" "hme0 DOWN"
wait_for shows athena "lltstat -nvv active" "hme0 DOWN"
echo "== hme0 is cut"
say athena lltstat -nvv active
echo "== $("$M" --root athena membership >/dev/null && echo a view)"
ip -n zeus link set hme0 up
wait_for shows athena "lltstat -n" "1 zeus OPEN 2"
echo "== a second athena"
sed -i 's/otehllo/athena/' otehllo/etc/llttab
# Either wire may be the first on which it is heard.
code=0; on otehllo lltconfig -c >refused || code=$?
sed 's/link [qh][fm]e0$/a link/' refused
echo "== $code, $(ls otehllo/etc/mainstay)"
shows athena "lltstat -n" "1 zeus OPEN 2"
echo "== links come and go"
say athena lltconfig -u hme0
wait_for shows zeus "lltstat -n" "0 athena OPEN 1"
say athena lltstat -n
say athena lltconfig -t hme0 -d hme0 -b ether -l
say athena lltstat -l
wait_for shows zeus "lltstat -n" "0 athena OPEN 2"
code=0; say athena lltconfig -u eri0 || code=$?
echo "== $code"
say athena lltstat -z
say zeus lltconfig -U
code=0; say zeus lltstat -n || code=$?
echo "== $code"
wait_for shows athena "lltstat -n" "1 zeus CONNWAIT 0"
echo "== and back"
say zeus lltconfig -c
wait_for shows athena "lltstat -n" "1 zeus OPEN 2"
wait_for shows zeus "lltstat -n" "0 athena OPEN 2"
say zeus lltstat -n
"#;

/// What the guide and the manuals show, with blanks collapsed.
const EXPECTED: &str = "\
[athena]# lltconfig
LLT is not running
== 1
== with an open key: 1, 1, key
[athena]# lltconfig -c
[zeus]# lltconfig -c
[athena]# lltconfig
LLT is running
[athena]# lltconfig -a list
llt is running
Link 0 (qfe0):
Node 0 athena : 08:00:20:93:0E:34 permanent
Node 1 zeus : 08:00:20:8F:D1:F2
Link 1 (hme0):
Node 0 athena : 08:00:20:93:0E:35 permanent
Node 1 zeus : 08:00:20:8F:D1:F3
[athena]# lltstat -n
LLT node information:
Node State Links
*0 athena OPEN 2
1 zeus OPEN 2
[zeus]# lltstat -nvv active
LLT node information:
Node State Link Status Address
0 athena OPEN
qfe0 UP 08:00:20:93:0E:34
hme0 UP 08:00:20:93:0E:35
* 1 zeus OPEN
qfe0 UP 08:00:20:8F:D1:F2
hme0 UP 08:00:20:8F:D1:F3
== verbose: 30 wait
[athena]# lltconfig -T query
Current LLT timer values (.01 sec units):
heartbeat = 20
heartbeatlo = 40
peertrouble = 50
peertroublelo = 100
peerinact = 100
[athena]# lltconfig -T peerinact:1600
lltconfig: -T peerinact:1600: times belong to the whole cluster and are not set on one node
change `detection` in the configuration (`mainstay config show`), then `mainstay config apply FILE`
== 1
[athena]# lltstat -l
LLT link information:
link 0 qfe0 on ether hipri
mtu 1500, sap 0xcafe, broadcast FF:FF:FF:FF:FF:FF, addrlen 6
link 1 hme0 on ether hipri
mtu 1500, sap 0xcafe, broadcast FF:FF:FF:FF:FF:FF, addrlen 6
[athena]# lltstat -p
LLT port information:
Port Usage Cookie
0 gab 0x0
opens: 0 1
connects: 0 1
== hme0 is cut
[athena]# lltstat -nvv active
LLT node information:
Node State Link Status Address
* 0 athena OPEN
qfe0 UP 08:00:20:93:0E:34
hme0 UP 08:00:20:93:0E:35
1 zeus OPEN
qfe0 UP 08:00:20:8F:D1:F2
hme0 DOWN 08:00:20:8F:D1:F3
== a view
== a second athena
lltconfig: another node uses id 0 of cluster 10: it was heard on a link
give each node a set-node of its own in its llttab
== 1, key
== links come and go
[athena]# lltconfig -u hme0
[athena]# lltstat -n
LLT node information:
Node State Links
*0 athena OPEN 1
1 zeus OPEN 1
[athena]# lltconfig -t hme0 -d hme0 -b ether -l
[athena]# lltstat -l
LLT link information:
link 0 qfe0 on ether hipri
mtu 1500, sap 0xcafe, broadcast FF:FF:FF:FF:FF:FF, addrlen 6
link 1 hme0 on ether lowpri
mtu 1500, sap 0xcafe, broadcast FF:FF:FF:FF:FF:FF, addrlen 6
[athena]# lltconfig -u eri0
lltconfig: this node defines no path eri0 to *
paths of [[network]] are in the shared configuration: `mainstay config apply`
== 1
[athena]# lltstat -z
[zeus]# lltconfig -U
[zeus]# lltstat -n
LLT is not running
== 1
== and back
[zeus]# lltconfig -c
[zeus]# lltstat -n
LLT node information:
Node State Links
0 athena OPEN 2
*1 zeus OPEN 2
";

#[test]
fn the_guides_files_and_commands() {
    let Some(said) = script::run(Spaces::NetAndMounts, SCRIPT) else { return };
    assert_eq!(said.collapsed(), EXPECTED, "{}", said.logs);
}

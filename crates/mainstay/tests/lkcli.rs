//! The transcript of SIOS's guide "Creating and deleting communication paths with lkcli", command by
//! command, against two real daemons in a network namespace. Blanks are collapsed: the guide lost its
//! columns.

mod script;

use script::Spaces;

const SCRIPT: &str = r#"
has() { MAINSTAY_ROOT=$1 ./lkcli status -q | grep -q "$2"; }
on() { root=$1; shift; echo "[$root]# lkcli $*"; MAINSTAY_ROOT=$root ./lkcli "$@" 2>&1; }
ln -s "$M" lkcli
ip link set lo up
for node in target1 target2; do
  mkdir -p $node/etc/mainstay
  echo $node >$node/etc/mainstay/node
  printf '%064d\n' 7 >$node/etc/mainstay/key
  chmod 600 $node/etc/mainstay/key
  printf '[cluster]\nname = "guide"\nid = 10\n[[node]]\nname = "target1"\nid = 1\n[[node]]\nname = "target2"\nid = 2\n' >$node/etc/mainstay/cluster.toml
done
ip addr add 10.1.6.88/16 dev lo
ip addr add 10.1.6.89/16 dev lo
"$M" --root target1 run >target1.log 2>&1 & a=$!
"$M" --root target2 run >target2.log 2>&1 & b=$!
trap 'kill $a $b; wait' EXIT
wait_for has target1 LOCAL
wait_for has target2 LOCAL
on target1 status -q
on target1 commpath create --laddr 10.1.6.88 --raddr 10.1.6.89 --dest target2
on target1 status -q
on target2 status -q
on target2 commpath create --laddr 10.1.6.89 --raddr 10.1.6.88 --dest target1
wait_for has target2 ALIVE
on target2 status -q
wait_for has target1 ALIVE
echo "== the view: $(wait_for "$M" --root target1 membership && echo both)"
on target2 commpath delete --laddr 10.1.6.89 --raddr 10.1.6.88 --dest target1
on target2 status -q
wait_for has target1 DEAD
on target1 status -q
on target1 commpath delete --laddr 10.1.6.88 --raddr 10.1.6.89 --dest target2
on target1 status -q
code=0; on target1 commpath delete --laddr 10.1.6.88 --raddr 10.1.6.89 --dest target2 || code=$?
echo "== deleted twice: $code"
code=0; on target1 commpath create --laddr 10.1.6.88 --raddr 10.1.6.89 --dest target3 || code=$?
echo "== to nobody: $code"
"#;

/// What the guide shows, and what it says of the rest.
const EXPECTED: &str = "\
[target1]# lkcli status -q
LOCAL TAG ID STATE PRIO PRIMARY
[target1]# lkcli commpath create --laddr 10.1.6.88 --raddr 10.1.6.89 --dest target2
Performing commpath 'target2:10.1.6.88/10.1.6.89' create...
Commpath 'target2:10.1.6.88/10.1.6.89' created successful.
[target1]# lkcli status -q
LOCAL TAG ID STATE PRIO PRIMARY

MACHINE NETWORK ADDRESSES/DEVICE STATE PRIO
target2 TCP 10.1.6.88/10.1.6.89 DEAD 1
[target2]# lkcli status -q
LOCAL TAG ID STATE PRIO PRIMARY
[target2]# lkcli commpath create --laddr 10.1.6.89 --raddr 10.1.6.88 --dest target1
Performing commpath 'target1:10.1.6.89/10.1.6.88' create...
Commpath 'target1:10.1.6.89/10.1.6.88' created successful.
[target2]# lkcli status -q
LOCAL TAG ID STATE PRIO PRIMARY

MACHINE NETWORK ADDRESSES/DEVICE STATE PRIO
target1 TCP 10.1.6.89/10.1.6.88 ALIVE 1
== the view: both
[target2]# lkcli commpath delete --laddr 10.1.6.89 --raddr 10.1.6.88 --dest target1
[target2]# lkcli status -q
LOCAL TAG ID STATE PRIO PRIMARY
[target1]# lkcli status -q
LOCAL TAG ID STATE PRIO PRIMARY

MACHINE NETWORK ADDRESSES/DEVICE STATE PRIO
target2 TCP 10.1.6.88/10.1.6.89 DEAD 1
[target1]# lkcli commpath delete --laddr 10.1.6.88 --raddr 10.1.6.89 --dest target2
[target1]# lkcli status -q
LOCAL TAG ID STATE PRIO PRIMARY
[target1]# lkcli commpath delete --laddr 10.1.6.88 --raddr 10.1.6.89 --dest target2
lkcli: this node defines no path 10.1.6.88/10.1.6.89 to target2
== deleted twice: 1
[target1]# lkcli commpath create --laddr 10.1.6.88 --raddr 10.1.6.89 --dest target3
Performing commpath 'target3:10.1.6.88/10.1.6.89' create...
lkcli: there is no other node target3
== to nobody: 1
";

#[test]
fn the_guides_transcript() {
    let Some(said) = script::run(Spaces::Net, SCRIPT) else { return };
    assert_eq!(said.collapsed(), EXPECTED, "{}", said.logs);
}

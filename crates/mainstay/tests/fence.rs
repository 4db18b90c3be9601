//! A real daemon that asks a fence agent by itself whether it answers: one that does, then refuses, then is
//! configured otherwise.

mod script;

use script::{Spaces, run};

/// The agent is a shell script that logs in with a password, as long as that is right.
const SCRIPT: &str = r#"
ip link set lo up
ip addr add 10.77.0.1/24 dev lo
root n1
cat >fence_board <<'END'
#!/bin/sh
while IFS= read -r line; do
  case $line in password=*) password=${line#password=} ;; action=*) action=${line#action=} ;; esac
done
here=${0%/*}
echo "$action" >>$here/asked
[ "$password" = "$(cat $here/right)" ] || { echo "cannot log in with $password" >&2; exit 1; }
exit 0
END
chmod +x fence_board
echo one >right
echo one >first
echo two >second
configuration() {
cat <<END
$(cluster 'seed = 1' 'fence_verify = "10s"' n1 n2)
[[network]]
name = "net0"
nodes = { n1 = "10.77.0.1/24", n2 = "10.77.0.2/24" }
[[fence]]
node = "n2"
agent = "$PWD/fence_board"
[fence.options]
password_file = "$PWD/$1"
[[fence]]
node = "n1"
agent = "$PWD/fence_board"
[fence.options]
password_file = "$PWD/nobody-asks-about-itself"
END
}
configuration first >n1/etc/mainstay/cluster.toml
m() { "$M" --root $PWD/n1 "$@"; }
status() { m --json status | tr -d ' \n' | grep -o '"fence":{[^}]*}'; }
proven() { status | grep -q '"usable":true'; }
broken() { status | grep -q '"usable":false,"checked_ms":[0-9]*,"proven_ms":'"$1"; }
run n1
wait_for is_member n1
say "at first: $(status)"
wait_for proven
say "asked: $(sort -u asked)"
echo two >right
wait_for broken '[0-9]'
say "warning: $(m --json status | grep -c 'fence agent fence_board (level 1) of n2 has not answered since .*cannot log in with \*\*\*.*n2 cannot be fenced from here')"
say "journal: $(grep -c 'n2 cannot be fenced from here' n1.log)"
m fence list || say "list: $?"
configuration second >new.toml
m config apply new.toml
wait_for proven
m fence history
m --json fence history | tr -d ' \n' | grep -o '"verb":"[a-z]*"\|"ok":[a-z]*\|"by_hand":[a-z]*' | tr '\n' ' '
say "counted: $(m --json status | grep -c fence_checks_failed)"
say "about itself: $(m --json fence list | grep -c nobody-asks)"
kill -TERM $!
code=0; wait $! || code=$?
say "the guard: $code"
"#;

#[test]
fn agents_are_asked_by_themselves_and_what_does_not_answer_is_said() {
    let Some(said) = run(Spaces::Net, SCRIPT) else { return };
    said.has(&[
        r#"== at first: "fence":{"usable":false,"checked_ms":null,"proven_ms":null}"#,
        "== asked: status",
        "== warning: 1",
        "== journal: 1",
        "failed",
        "== list: 1",
        "no answer: exit code 1: cannot log in with ***",
        r#""by_hand":false "verb":"verify" "ok":true "by_hand":false "verb":"verify" "ok":false "by_hand":false "verb":"verify" "ok":true"#,
        "== counted: 1",
        "== about itself: 1",
        "== the guard: 0",
    ]);
}

//! A service whose processes leave its control group, as a login (`su -`) that the service manager moves does: in
//! an orderly stop, at its deadline, and when guard and daemon are killed. It counts as stopped when none of
//! them runs.

mod script;

use script::{Spaces, run};

/// One node with one service, four processes of which leave its group:
///
/// - `same` stays in its session;
/// - `session` begins one of its own;
/// - `bare` does that, clears its environment, and does not listen to SIGTERM: only its parent gives it away, and
///   that one ends first;
/// - `orphan`, where it is wanted, has no parent any more from the beginning.
const SCRIPT: &str = r#"
mount=$(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - cgroup2 .*/\1/p' /proc/self/mountinfo | head -n 1)
other=$mount/escape-test-$$
if [ -z "$mount" ] || ! mkdir $other 2>/dev/null; then say "skipped: no control groups here"; exit; fi
end() {
  for name in same session bare orphan old-same old-session old-bare; do kill -9 $(cat $name 2>/dev/null) 2>/dev/null || true; done
  stop
  for _ in $(seq 50); do rmdir $other 2>/dev/null && return; sleep 0.1; done
}
trap end EXIT
ip link set lo up
ip addr add 10.77.0.1/24 dev lo
# Leaves the group, and lives on: away NAME [SIGNAL THAT IT IS DEAF TO]
cat >away <<END
[ -z "\$2" ] || trap '' \$2
echo \$\$ >$other/cgroup.procs
echo \$\$ >$PWD/\$1.new
/bin/mv $PWD/\$1.new $PWD/\$1
exec /bin/sleep 1000
END
cat >serve <<END
sh $PWD/away same &
setsid sh $PWD/away session &
env -i /usr/bin/setsid /bin/sh $PWD/away bare TERM &
[ ! -e $PWD/orphans ] || (env -i /usr/bin/setsid /bin/sh $PWD/away orphan &)
sleep 1000
END
root n1
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster 'detection = "normal"' n1)
[[network]]
name = "net0"
nodes = { n1 = "10.77.0.1/24" }
$(service db n1)
stop_timeout = "1s"
[[service.resource]]
name = "server"
kind = "process"
command = ["/bin/sh", "$PWD/serve"]
END
alive() { grep -qs '^State:.[^ZX]' /proc/$1/status; }
# All of these have left the group, and live.
left() { for name; do [ -s $name ] && alive $(cat $name) || return 1; grep -q escape-test /proc/$(cat $name)/cgroup || return 1; done; }
# None of these lives, at this moment.
none() { for name; do if alive $(cat $name); then say "$name still runs"; exit 1; fi; done; say "none left: $*"; }
# These will be asked for when a new service has taken their names.
keep() { for name; do cp $name old-$name; done; }
is() { on n1 service list | grep -q "db .*$1"; }
daemon() { pgrep -P $guard; }
run n1
guard=$!
wait_for is_member n1
wait_for left same session bare

on n1 service stop db
wait_for is stopped
none same session bare
rm same session bare

touch orphans
on n1 service start db
wait_for left same session bare orphan
kill -STOP $(daemon)
wait_for grep -q "db: nothing left of it" n1.log
none same session bare orphan
kill -CONT $(daemon)
rm same session bare orphan orphans

wait_for left same session bare
keep same session bare
kill -9 $guard $(daemon)
wait $guard || true
left old-same old-session old-bare
rm n1.log same session bare
run n1
guard=$!
wait_for grep -q "a former guard had left running" n1.log
none old-same old-session old-bare
# What runs now is ended when all of it is there to be found.
wait_for left same session bare
"#;

#[test]
fn what_leaves_its_control_group_ends_with_its_service() {
    let Some(said) = run(Spaces::Net, SCRIPT) else { return };
    if said.output.contains("skipped") {
        println!("{}", said.output);
        return;
    }
    said.has(&["none left: same session bare\n", "none left: same session bare orphan\n"]);
    assert_eq!(said.output.matches("none left").count(), 3, "{}", said.output);
}

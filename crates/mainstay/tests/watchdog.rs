//! A real daemon with a storage service and a device that is no watchdog, as far as that goes on a machine
//! that must not be reset: it is looked at when the service starts and not before, what cannot be used is not
//! opened, and the service starts all the same, freed by proof only.

mod script;

use script::{Spaces, run};

const SCRIPT: &str = r#"
ip link set lo up
ip addr add 10.77.0.1/24 dev lo
root n1
cat >n1/etc/mainstay/cluster.toml <<END
$(cluster 'detection = "fast"' n1)
[[network]]
name = "net0"
nodes = { n1 = "10.77.0.1/24" }
[watchdog]
device = "/dev/null"
[[service]]
name = "files"
class = "storage"
mode = "manual"
nodes = ["n1"]
[[service.resource]]
name = "server"
kind = "process"
command = ["sleep", "1000"]
END
run n1
wait_for is_member n1
show() { code=0; "$M" --root $PWD/n1 watchdog show || code=$?; say "show: $code"; }
show
say "before: $(grep -c 'the watchdog cannot be armed' n1.log || true)"
"$M" --root $PWD/n1 service start files n1 --wait
show
say "said: $(grep -c 'the watchdog cannot be armed: /dev/null: this is no watchdog' n1.log)"
say "opened: $(grep -c 'guard: watchdog' n1.log || true)"
say "warned: $("$M" --root $PWD/n1 status | grep -c 'the watchdog cannot be armed')"
say "why: $("$M" --root $PWD/n1 why files | grep -c 'the watchdog could not be armed')"
"$M" --root $PWD/n1 --json watchdog show | tr ',' '\n'
kill -TERM $!
code=0; wait $! || code=$?
say "the guard: $code"
"#;

#[test]
fn it_is_asked_for_with_the_first_storage_service_and_its_failure_is_shown() {
    let Some(said) = run(Spaces::Net, SCRIPT) else { return };
    said.has(&[
        "/dev/null of n1 is not armed, because no storage service has been started here yet",
        "== show: 0",
        "== before: 0",
        "/dev/null of n1 could not be armed: /dev/null: this is no watchdog",
        "== show: 1",
        "== said: 1",
        "== opened: 0",
        "== warned: 1",
        "== why: 1",
        "  \"state\": \"failed\"",
        "  \"storage\": true",
        "  \"fed\": false",
        "== the guard: 0",
    ]);
}

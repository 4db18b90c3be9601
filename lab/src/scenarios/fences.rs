//! One rung of the fence ladder after the other is broken.
//!
//! The active node is cut off from its peers, and not from those outside: it goes on to serve for its
//! lease, which is far longer than the scenario. So whoever starts the service before that machine is
//! really off is a second owner, and the client and the observer see it. The first level's agent fails
//! in another way each time; the second level's does what it should. An agent is a shell script that
//! speaks to this lab as a power switch: it leaves a wish in a file, and the lab pulls the plug (all
//! processes of the machine end at once) or switches on again, and writes down what the power is.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Played;
use crate::api;
use crate::clock::{self, milliseconds};
use crate::cluster::Cluster;
use crate::lab::Lab;
use crate::scene::{PATIENCE, Scene};
use crate::wait;

/// What is wrong with the first level, in turn. `late` is none: it is off after "done" was said.
pub(super) const RUNGS: [&str; 6] =
    ["wrong-password", "unreachable", "hangs", "lies", "slow", "late"];
/// How long each level may take.
pub(super) const BUDGET: Duration = Duration::from_secs(4);
/// Much longer than all levels together: time frees nothing here.
const LEASE: Duration = Duration::from_secs(60);
/// After how long the plug is pulled for an agent that said so at once.
const LATE: Duration = Duration::from_millis(1_500);
/// How much later than its budget a level that is given up may be over: the machine is busy.
const LEEWAY: Duration = Duration::from_secs(4);
const PASSWORD: &str = "correct horse";

const AGENT: &str = r#"#!/bin/sh
# Options as lines key=value on standard input; see "FenceAgentAPI".
here=${0%/*}
while IFS= read -r line; do
    case $line in
        action=*) action=${line#action=} ;;
        plug=*) plug=${line#plug=} ;;
        password=*) password=${line#password=} ;;
        rung=*) rung=${line#rung=} ;;
    esac
done
trouble=none
[ "$rung" = 1 ] && read -r trouble < "$here/trouble"
if [ "$action" = metadata ]; then
    echo '<parameters><parameter name="plug"/><parameter name="password"/><parameter name="rung"/>'
    echo '</parameters><actions><action name="status"/></actions>'
    exit 0
fi
if [ "$password" != "$(cat "$here/password")" ]; then
    echo "cannot log in with $password" >&2
    exit 1
fi
case $trouble in
    unreachable) echo "no route to the power switch" >&2; exit 1 ;;
    hangs) sleep 1000 ;;
esac
if [ "$action" = status ]; then
    [ "$(cat "$here/$plug.power")" = on ] && exit 0
    exit 2
fi
case $trouble-$action in
    lies-off) exit 0 ;;
    slow-off) sleep 120 ;;
    late-off) echo late > "$here/$plug.new"; mv "$here/$plug.new" "$here/$plug.wish"; exit 0 ;;
esac
echo "$action" > "$here/$plug.new"
mv "$here/$plug.new" "$here/$plug.wish"
while [ "$(cat "$here/$plug.power")" != "$action" ]; do sleep 0.02; done
"#;

/// Puts the power switch into the lab; gives its directory, which all machines see.
pub(super) fn furnish(lab: &Lab) -> Result<PathBuf> {
    let directory = lab.directory().join("power");
    fs::create_dir(&directory).context("a place for the power switch")?;
    let agent = directory.join("fence_switch");
    fs::write(&agent, AGENT)?;
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
    fs::write(directory.join("password"), format!("{PASSWORD}\n"))?;
    fs::write(directory.join("first-password"), format!("{PASSWORD}\n"))?;
    fs::write(directory.join("trouble"), "none\n")?;
    for name in lab.node_names() {
        set_power(&directory, &name, "on")?;
    }
    Ok(directory)
}

/// Two levels for each node, and a lease that outlasts them.
pub(super) fn adapt(cluster: &mut Cluster, directory: &Path) -> Result<()> {
    cluster.times = format!(", lease = \"{}s\"", LEASE.as_secs());
    let shown = directory.to_str().context("the lab's directory is not text")?;
    for node in cluster.services[0].nodes.clone() {
        for (level, password) in [(1, "first-password"), (2, "password")] {
            cluster.tail.push_str(&format!(
                "\n[[fence]]\nnode = \"{node}\"\nlevel = {level}\n\
                 agent = \"{shown}/fence_switch\"\ntimeout = \"{}s\"\n[fence.options]\n\
                 plug = \"{node}\"\nrung = {level}\npassword_file = \"{shown}/{password}\"\n",
                BUDGET.as_secs()
            ));
        }
    }
    Ok(())
}

/// Written as a whole, so that nobody reads half of it.
fn set_power(directory: &Path, node: &str, power: &str) -> Result<()> {
    let new = directory.join(format!("{node}.power.new"));
    fs::write(&new, format!("{power}\n"))?;
    fs::rename(&new, directory.join(format!("{node}.power")))?;
    Ok(())
}

/// The power switch, as far as it has got.
struct Switch {
    directory: PathBuf,
    /// Plugs to be pulled later.
    late: VecDeque<(Duration, String)>,
    /// When each plug was pulled: all processes were gone then.
    pulled: Vec<(Duration, String)>,
    /// Machines that were switched on again.
    back: Vec<String>,
}

impl Switch {
    fn new(directory: PathBuf) -> Self {
        Self { directory, late: VecDeque::new(), pulled: Vec::new(), back: Vec::new() }
    }

    /// Does what agents have wished for.
    fn turn(&mut self, scene: &mut Scene) -> Result<()> {
        for node in scene.lab.node_names() {
            let wish = self.directory.join(format!("{node}.wish"));
            let Ok(wished) = fs::read_to_string(&wish) else { continue };
            fs::remove_file(&wish)?;
            match wished.trim() {
                "late" => self.late.push_back((clock::now() + LATE, node)),
                "off" => self.pull(scene, node)?,
                _ => {
                    // Whoever looks after the machine has mended its cables meanwhile.
                    scene.lab.heal_all()?;
                    if !scene.lab.is_on(&node)? {
                        scene.lab.power_on(&node)?;
                        scene.lab.start(&node)?;
                    }
                    set_power(&self.directory, &node, "on")?;
                    self.back.push(node);
                }
            }
        }
        if self.late.front().is_some_and(|(at, _)| *at <= clock::now())
            && let Some((_, node)) = self.late.pop_front()
        {
            self.pull(scene, node)?;
        }
        Ok(())
    }

    fn pull(&mut self, scene: &mut Scene, node: String) -> Result<()> {
        if scene.lab.is_on(&node)? {
            scene.lab.power_off(&node)?;
        }
        self.pulled.push((clock::now(), node.clone()));
        set_power(&self.directory, &node, "off")
    }
}

/// Plays the rung whose turn it is.
pub(super) fn next_rung(scene: &mut Scene, active: &str) -> Result<Played> {
    let directory = scene.lab.directory().join("power");
    let count = directory.join("played");
    let played = fs::read_to_string(&count).map_or(0, |text| text.len());
    fs::write(&count, ".".repeat(played + 1))?;
    let rung = RUNGS[played % RUNGS.len()];
    fs::write(directory.join("trouble"), format!("{rung}\n"))?;
    let password = if rung == "wrong-password" { "wrong" } else { PASSWORD };
    fs::write(directory.join("first-password"), format!("{password}\n"))?;
    let bound = api::fence_wait(scene.lab.root(active)?)?;

    let names = scene.lab.node_names();
    let others: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| *name != active).collect();
    let start = clock::now();
    scene.lab.partition(&[active], &others)?;
    let mut switch = Switch::new(directory);
    let is_done = wait::until("the machine to be off and on again", PATIENCE, || {
        switch.turn(scene)?;
        Ok((!switch.back.is_empty()).then_some(()))
    });
    scene.explain(is_done)?;
    scene.wait_for_all()?;
    scene.wait_until_quiet()?;
    let seen = scene.seen_since(start)?;

    let mut complaints = Vec::new();
    ensure!(switch.back == [active], "{:?} were switched on", switch.back);
    let (off, whom) = switch.pulled.first().context("no plug was pulled")?.clone();
    if switch.pulled.len() != 1 || whom != active {
        complaints.push(format!("the plugs pulled were {:?}", switch.pulled));
    }
    let elsewhere = seen
        .answers
        .answers
        .iter()
        .filter(|answer| seen.answers.responders[usize::from(answer.responder)] != active);
    let first = elsewhere.map(|answer| Duration::from_nanos(answer.received)).min();
    let first = first.context("nobody else answered")?;
    if first < off {
        let early = milliseconds(off - first);
        complaints.push(format!("another node answered {early:.0} ms before the machine was off"));
    }
    let late = bound.saturating_sub(first - start);
    if late.is_zero() {
        complaints.push("time was over first".to_owned());
    }
    let attempt = newest_attempt(scene, active)?;
    complaints.extend(not_as_meant(rung, &attempt));
    let said: Vec<String> = attempt.iter().map(ToString::to_string).collect();
    let said = said.join(", ");
    // A secret that an agent repeats must not be in it.
    if said.contains("log in with wrong") {
        complaints.push("the history has a password in it".to_owned());
    }
    let mut played = Played::from(seen);
    played.complaints = complaints;
    played.notes.push(format!(
        "{rung}: off {:.0} ms after the cut, served {:.0} ms later, {:.0} s before F; {said}",
        milliseconds(off - start),
        milliseconds(first.saturating_sub(off)),
        late.as_secs_f64()
    ));
    Ok(played)
}

/// Checks and turns a machine that is not needed off and on, by commands on the active node.
pub(super) fn by_hand(scene: &mut Scene, active: &str) -> Result<Played> {
    let directory = scene.lab.directory().join("power");
    let other = scene.another_than(active)?;
    let start = clock::now();
    let mut complaints = Vec::new();
    let mut expect = |scene: &mut Scene, words: &[&str], code: i32, says: &str| -> Result<()> {
        let output = scene.lab.run_program(active, words)?;
        let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        let said = said.concat();
        if output.status.code() != Some(code) || !said.contains(says) {
            let words = words.join(" ");
            complaints.push(format!("{words}: {}, and not \"{says}\": {said}", output.status));
        }
        Ok(())
    };
    let verify = ["fence", "verify", &other];
    expect(scene, &["config", "check"], 0, "is usable")?;
    expect(scene, &verify, 0, "all agents answer")?;
    fs::write(directory.join("first-password"), "wrong\n")?;
    expect(scene, &verify, 1, "cannot log in with ***")?;
    expect(scene, &["status"], 0, "fence agent fence_switch (level 1)")?;
    fs::write(directory.join("first-password"), format!("{PASSWORD}\n"))?;
    set_power(&directory, &other, "off")?;
    expect(scene, &verify, 1, "is it about another machine?")?;
    set_power(&directory, &other, "on")?;
    expect(scene, &verify, 0, "all agents answer")?;
    expect(scene, &["fence", "off", &other, "--confirm", active], 64, "nothing was done")?;
    expect(scene, &["fence", "off", active, "--confirm", active], 1, "its own machine")?;
    let reset = ["fence", "verify", &other, "--reset-standby"];
    expect(scene, &reset, 1, "is not an idle member in standby")?;
    expect(scene, &["node", "standby", &other], 0, "")?;

    let mut switch = Switch::new(directory);
    command_turns(scene, &mut switch, active, &reset, |switch| !switch.back.is_empty())?;
    scene.wait_for_all()?;
    expect(scene, &["node", "online", &other], 0, "")?;
    let off = ["fence", "off", &other, "--confirm", &other];
    command_turns(scene, &mut switch, active, &off, |switch| switch.pulled.len() == 2)?;
    clock::pause(super::WATCH);
    switch.turn(scene)?;
    if switch.back.len() != 1 {
        complaints.push("what was turned off by hand did not stay off".to_owned());
    }
    let on = ["fence", "on", &other];
    command_turns(scene, &mut switch, active, &on, |switch| switch.back.len() == 2)?;
    scene.wait_for_all()?;
    scene.wait_until_quiet()?;
    let history = api::get(scene.lab.root(active)?, "/v1/fence/history")?;
    let records = history["records"].as_array().context("a history has records")?;
    let acts = records.iter().filter(|record| record["verb"] != "verify");
    let all: Vec<String> = acts
        .map(|record| format!("{} {}", record["by_hand"], record["verb"].as_str().unwrap_or("?")))
        .collect();
    if all != ["true off", "true on", "true off", "true on"] {
        complaints.push(format!("the history is {all:?}"));
    }
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    played.notes.push(format!("{other} was reset, turned off and on"));
    Ok(played)
}

/// Runs a command on a node while the switch works.
fn command_turns(
    scene: &mut Scene,
    switch: &mut Switch,
    node: &str,
    words: &[&str],
    is_done: impl Fn(&Switch) -> bool,
) -> Result<()> {
    let root = scene.lab.root(node)?.to_str().context("the root is not text")?.to_owned();
    let program = scene.lab.spec().program.to_str().context("the program is not text")?.to_owned();
    let mut arguments = vec![program.as_str(), "--root", root.as_str()];
    arguments.extend(words);
    scene.lab.spawn_in(node, &arguments)?;
    let outcome = wait::until(&format!("{} to be done", words.join(" ")), PATIENCE, || {
        switch.turn(scene)?;
        Ok(is_done(switch).then_some(()))
    });
    scene.explain(outcome)
}

/// What came of one level, as the history has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    level: u64,
    verb: String,
    took: Duration,
    error: Option<String>,
}

impl Step {
    fn read(record: &serde_json::Value) -> Option<Self> {
        Some(Self {
            level: record["level"].as_u64()?,
            verb: record["verb"].as_str()?.to_owned(),
            took: Duration::from_millis(record["took_ms"].as_u64()?),
            error: record["error"].as_str().map(str::to_owned),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, verb, took, error } = self;
        let took = took.as_millis();
        match error {
            None => write!(f, "level {level} {verb} after {took} ms"),
            Some(error) => write!(f, "level {level} not {verb} after {took} ms ({error})"),
        }
    }
}

/// What is not in the history of a rung though it must be: the first level failed as it was made to, and the
/// second one did it; or the first one did it late.
fn not_as_meant(rung: &str, attempt: &[Step]) -> Vec<String> {
    let words: &[&str] = match rung {
        "wrong-password" => &["cannot log in with ***"],
        "unreachable" => &["no route to the power switch"],
        "hangs" | "slow" => &["did not end in time", "no answer to off"],
        "lies" => &["it is still on"],
        _ => &[],
    };
    let off = |level| attempt.iter().find(|step| step.level == level && step.verb == "off");
    let mut wrong = Vec::new();
    match off(1) {
        None => wrong.push("the first level was not asked".to_owned()),
        Some(step) if words.is_empty() => {
            if step.error.is_some() || step.took < LATE {
                wrong.push(format!("{step}, and not off after {} ms at least", LATE.as_millis()));
            }
        }
        Some(step) => {
            let error = step.error.as_deref().unwrap_or_default();
            if !words.iter().any(|words| error.contains(words)) {
                wrong.push(format!("{step}, and not \"{}\"", words.join("\" or \"")));
            }
            if step.took > BUDGET + LEEWAY {
                let budget = BUDGET.as_millis();
                wrong.push(format!("{step}, and not within its budget of {budget} ms"));
            }
        }
    }
    let second_did_it = off(2).map(|step| step.error.is_none());
    if second_did_it != (!words.is_empty()).then_some(true) {
        let said = off(2).map_or("was not asked".to_owned(), ToString::to_string);
        wrong.push(format!("the second level: {said}"));
    }
    wrong
}

/// What the node that fenced says of its last attempt, in order.
fn newest_attempt(scene: &Scene, fenced: &str) -> Result<Vec<Step>> {
    let mut newest: Option<(u64, Vec<Step>)> = None;
    for name in scene.lab.node_names() {
        let history = api::get(scene.lab.root(&name)?, "/v1/fence/history")?;
        let records = history["records"].as_array().context("a history has records")?;
        let is_act =
            |record: &&serde_json::Value| record["node"] == fenced && record["verb"] != "verify";
        let mut records = records.iter().rev().filter(is_act).peekable();
        let Some(at) = records.peek().and_then(|last| last["at_ms"].as_u64()) else { continue };
        if newest.as_ref().is_some_and(|(newest, _)| *newest > at) {
            continue;
        }
        let mut attempt: Vec<Step> = Vec::new();
        for record in records {
            let step = Step::read(record);
            attempt.push(step.with_context(|| format!("a record of the history: {record}"))?);
            // The attempt began with the first level.
            if record["verb"] == "off" && record["level"] == 1 {
                break;
            }
        }
        attempt.reverse();
        newest = Some((at, attempt));
    }
    newest.map(|(_, attempt)| attempt).context("nobody has fenced anybody")
}

#[cfg(test)]
mod tests;

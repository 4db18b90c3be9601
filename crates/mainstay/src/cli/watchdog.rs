//! `mainstay watchdog`: what the guard does with it, and whether the device obeys.

use std::ffi::CString;
use std::path::Path;
use std::time::Duration;

use api::v1;
use clap::{Args, Subcommand};
use os::watchdog::{self as device, Step, WatchdogError};

use super::{Context, Done, EXIT_DEGRADED, Failure, ask};
use crate::config::{self, duration, files};
use crate::render::{self, WatchdogFeeding, WatchdogHolder, WatchdogTest};

/// What is tried where neither the command line nor the configuration names one.
const DEVICE_DEFAULT: &str = "/dev/watchdog0";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Feedings of a test, and the pause before each.
const FEEDINGS: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// A machine that is here so long after the timeout was not reset.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(super) enum WatchdogCommand {
    /// Show what the guard does with this node's watchdog, and why
    Show,
    /// Arm a watchdog, feed it three times and stop it again, and say what it is and who has it open
    Test(TestOptions),
}

#[derive(Debug, Args)]
pub(super) struct TestOptions {
    /// The device [default: that of this node in the configuration, else /dev/watchdog0]
    #[arg(long, value_name = "PATH")]
    device: Option<String>,
    /// The timeout to arm it with, in whole seconds [default: that of the configuration, else 10s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Do not feed it: whether it really resets this machine. Asks for the name of the host
    #[arg(long, conflicts_with = "yes")]
    reset: bool,
    /// With --reset: the name of the host, instead of being asked for it
    #[arg(long, value_name = "NAME", requires = "reset")]
    confirm: Option<String>,
}

pub(super) fn watchdog(context: &Context, command: WatchdogCommand) -> Done {
    match command {
        WatchdogCommand::Show => show(context),
        WatchdogCommand::Test(options) => test(context, &options),
    }
}

/// Degraded when it could not be armed, or is armed and not fed.
fn show(context: &Context) -> Done {
    let watchdog: v1::Watchdog = context.client()?.get("/v1/watchdog")?;
    context.output.show(&watchdog, render::watchdog)?;
    let is_weak = match watchdog.state {
        v1::WatchdogState::Failed => true,
        v1::WatchdogState::Armed => !watchdog.fed,
        _ => false,
    };
    Ok(if is_weak { EXIT_DEGRADED } else { 0 })
}

/// What the configuration of this node says, if there is one that can be read.
fn configured(context: &Context) -> Option<config::Watchdog> {
    let root = context.root().ok()?;
    let text = files::read_cluster(root).ok()?;
    let (cluster, _) = config::parse(&text, "cluster.toml", 0).ok()?;
    let local = files::local_node(root, &cluster).ok()?;
    cluster.watchdogs.get(&local).cloned()
}

fn test(context: &Context, options: &TestOptions) -> Done {
    let configured = configured(context);
    let path = match (&options.device, &configured) {
        (Some(given), _) => given.clone(),
        (None, Some(watchdog)) => watchdog.device.clone(),
        (None, None) => DEVICE_DEFAULT.to_owned(),
    };
    let timeout = match (&options.timeout, &configured) {
        (Some(given), _) => duration::parse(given)
            .map_err(|sentence| Failure::usage(format!("--timeout: {sentence}"), "as 10s"))?,
        (None, Some(watchdog)) => watchdog.timeout,
        (None, None) => TIMEOUT_DEFAULT,
    };
    let mut test = look(&path, timeout);
    if test.trouble.is_empty() {
        if options.reset {
            confirm_reset(options, &path, timeout)?;
            reset(context, &mut test, timeout)?;
        } else {
            confirm(options, &path)?;
            try_out(&mut test, timeout);
        }
    }
    context.output.show(&test, render::watchdog_test)?;
    Ok(if test.trouble.is_empty() { 0 } else { EXIT_DEGRADED })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What can be seen without opening it, which would start it.
fn look(path: &str, timeout: Duration) -> WatchdogTest {
    let mut test =
        WatchdogTest { schema: v1::SCHEMA, device: path.to_owned(), ..WatchdogTest::default() };
    match device::describe(Path::new(path)) {
        Ok(seen) => {
            // One that never stops is not armed here, so nobody has to know beforehand.
            let unknown = WatchdogError { step: Step::NeverStops, errno: 0 };
            let found = seen.check(timeout).err().filter(|error| *error != unknown);
            test.trouble.extend(found.map(|error| error.to_string()));
            test.name = Some(seen.name);
            test.identity = seen.identity;
            test.active = seen.active;
            test.nowayout = seen.nowayout;
            test.least_ms = seen.limits.map(|(least, _)| millis(least));
            test.most_ms = seen.limits.map(|(_, most)| millis(most)).filter(|most| *most > 0);
        }
        Err(error) => {
            test.trouble.push(error.to_string());
            return test;
        }
    }
    let holders = device::holders(Path::new(path));
    let holder = |(process, name)| WatchdogHolder { process, name };
    test.holders = holders.into_iter().map(holder).collect();
    if test.holders.iter().any(|holder| holder.name == "mainstay") {
        test.trouble.push(
            "the guard of this node has armed it: `mainstay watchdog show`; it can be tested when \
             mainstay is stopped"
                .to_owned(),
        );
    } else if !test.holders.is_empty() {
        let busy = rustix::io::Errno::BUSY.raw_os_error();
        test.trouble.push(WatchdogError { step: Step::Open, errno: busy }.to_string());
    } else if test.active == Some(true) {
        test.trouble.push(
            "its timer runs and nobody has it open: this machine is about to be reset, or the kernel \
             feeds it by itself; start what feeds it"
                .to_owned(),
        );
    }
    test
}

/// Arms, feeds three times, stops.
fn try_out(test: &mut WatchdogTest, timeout: Duration) {
    if test.nowayout == Some(true) {
        let text = "it was not armed: it could never be stopped, and this machine would be reset. To see \
                    that: --reset. To use it with mainstay: load its driver with nowayout=0";
        return test.trouble.push(text.to_owned());
    }
    let watchdog = match arm(&test.device, timeout) {
        Ok(watchdog) => watchdog,
        Err(error) => return test.trouble.push(error.to_string()),
    };
    test.identity.get_or_insert_with(|| watchdog.support().identity().to_owned());
    test.timeout_ms = Some(millis(watchdog.timeout()));
    for _ in 0..FEEDINGS {
        pause(PAUSE.min(watchdog.timeout() / 2));
        let left = || watchdog.time_left().ok().map(millis);
        let before_ms = left();
        let begun = os::clock::boottime();
        let fed = watchdog.feed();
        let took_us = os::clock::boottime().since(begun).as_micros() as u64;
        if let Err(error) = fed {
            test.trouble.push(error.to_string());
        }
        test.feedings.push(WatchdogFeeding { before_ms, after_ms: left(), took_us });
    }
    match watchdog.disarm() {
        Ok(()) => {
            let seen = device::describe(Path::new(&test.device));
            test.stopped = seen.is_ok_and(|seen| seen.active != Some(true));
            if !test.stopped {
                test.trouble.push("it runs on: this machine is about to be reset".to_owned());
            }
        }
        Err(error) => test.trouble.push(error.to_string()),
    }
}

/// Arms it and waits for the end.
fn reset(context: &Context, test: &mut WatchdogTest, timeout: Duration) -> Result<(), Failure> {
    let watchdog = match arm(&test.device, timeout) {
        Ok(watchdog) => watchdog,
        Err(error) => {
            test.trouble.push(error.to_string());
            return Ok(());
        }
    };
    let armed = os::clock::boottime();
    test.timeout_ms = Some(millis(watchdog.timeout()));
    rustix::fs::sync();
    while os::clock::boottime().since(armed) < watchdog.timeout() + GRACE {
        let passed = os::clock::boottime().since(armed).as_secs();
        let due = watchdog.timeout().as_secs();
        context
            .output
            .note(&format!("armed {passed} s ago and not fed; the reset is due at {due} s\n"));
        pause(PAUSE);
    }
    test.trouble.push(format!(
        "it did not reset this machine within {} s: do not rely on it",
        (watchdog.timeout() + GRACE).as_secs()
    ));
    match watchdog.disarm() {
        Ok(()) => test.stopped = true,
        Err(error) => test.trouble.push(error.to_string()),
    }
    Ok(())
}

fn arm(path: &str, timeout: Duration) -> Result<device::Watchdog, WatchdogError> {
    let zero = WatchdogError { step: Step::Find, errno: 0 };
    let path = CString::new(path).map_err(|_| zero)?;
    // One that never stops is not armed here at all.
    device::Watchdog::arm(&path, timeout, Duration::ZERO).map_err(|refused| refused.error)
}

#[expect(clippy::disallowed_methods, reason = "a command at a terminal, which Ctrl-C ends")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn confirm(options: &TestOptions, path: &str) -> Result<(), Failure> {
    if options.yes {
        return Ok(());
    }
    let question = format!(
        "this arms {path} for some seconds; if this command is killed meanwhile, the machine is reset. \
         yes? "
    );
    match ask::line(&question)?.as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::usage("nothing was done", "mainstay watchdog test --yes")),
    }
}

fn confirm_reset(options: &TestOptions, path: &str, timeout: Duration) -> Result<(), Failure> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let timeout = duration::format(timeout);
    ask::name_again(
        &name,
        options.confirm.as_deref(),
        &format!("this resets {name} by {path} in {timeout}, without stopping anything"),
        "mainstay watchdog test --reset",
    )
}

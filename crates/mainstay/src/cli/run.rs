//! `run` (the guard) and `daemon` (below it).

use std::os::unix::fs::DirBuilderExt;
use std::process::ExitCode;

use super::arguments::DaemonOptions;
use super::{Context, EXIT_USAGE, Failure};
use crate::config::files::{self, Root};
use crate::{config, daemon, guard};

/// Checks what the daemon will need, so that a mistake is told here, once, and not by a daemon
/// that is started again and again; then is the guard.
pub(super) fn run(context: &Context) -> Result<ExitCode, Failure> {
    let given = context.root()?;
    let directory = std::fs::canonicalize(given.directory()).map_err(|error| {
        Failure::usage(
            format!("can not use the root {}: {error}", given.directory().display()),
            "name an existing directory with --root",
        )
    })?;
    let root = Root::new(&directory);
    let text = files::read_cluster(&root).map_err(unusable)?;
    let parsed = config::parse(&text, &root.cluster().display().to_string(), 0);
    let found = match &parsed {
        Ok((_, found)) => found,
        Err(found) => found,
    };
    context.output.note(&found.render(context.output.has_error_colour()));
    let Ok((cluster, _)) = parsed else { return Ok(ExitCode::from(EXIT_USAGE)) };
    files::read_key(&root).map_err(unusable)?;
    let local = files::local_node(&root, &cluster).map_err(unusable)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(root.run()).map_err(|error| {
        Failure::other(format!("can not create {}: {error}", root.run().display()))
    })?;
    let tree = os::cgroup::tree_name(&cluster.name, &cluster.name_of(local), &directory)
        .map_err(|error| Failure::other(format!("{}: {error}", directory.display())))?;
    let stop = cluster.services.iter().map(|service| service.stop_timeout).max();
    let options = guard::Options {
        program: "/proc/self/exe".into(),
        arguments: vec!["mainstay".into(), "daemon".into(), "--root".into(), directory.into()],
        tree,
        lock: root.run().join("guard.lock"),
        armed: root.run().join("watchdog"),
        addresses: cluster.service_addresses().collect(),
        release_budget: cluster.timing.release,
        leave_budget: stop.unwrap_or_default() * 2 + cluster.timing.stall,
    };
    Ok(guard::run(&options)?)
}

pub(super) fn daemon(context: &Context, options: &DaemonOptions) -> Result<ExitCode, Failure> {
    let root = context.root()?.directory().to_owned();
    let error = match daemon::run(&daemon::Options { root, shared: options.shared_fd }) {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    let daemon::Unusable(said) = error.downcast()?;
    // It is the same at each start, and the guard must not try again.
    context.output.note(&said);
    Ok(ExitCode::from(EXIT_USAGE))
}

fn unusable(error: files::FileError) -> Failure {
    Failure::usage(error.message, error.help)
}

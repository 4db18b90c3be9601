//! Completions and manual pages, made from the definition of the command line; links by the names of
//! the faces.

use std::path::Path;

use clap::CommandFactory;

use super::arguments::Arguments;
use super::{Context, Done, EXIT_DEGRADED, Failure};
use crate::faces;

pub(super) fn completions(context: &Context, shell: clap_complete::Shell) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "mainstay", &mut text);
    context.output.print(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

pub(super) fn man(context: &Context, directory: Option<&Path>) -> Done {
    let failed =
        |error: std::io::Error| Failure::other(format!("can not write the pages: {error}"));
    match directory {
        None => context.output.print(&page().map_err(failed)?)?,
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(failed)?;
            clap_mangen::generate_to(Arguments::command(), directory).map_err(failed)?;
            let note = format!("the manual pages are in {}\n", directory.display());
            context.output.print(&note)?;
        }
    }
    Ok(0)
}

/// The names of the faces; with a directory, links there by these names to this program.
pub(super) fn faces(context: &Context, directory: Option<&Path>) -> Done {
    let Some(directory) = directory else {
        context.output.print(&(faces::names().join("\n") + "\n"))?;
        return Ok(0);
    };
    let failed =
        |what: &Path, error| Failure::other(format!("can not link {}: {error}", what.display()));
    let program = std::env::current_exe().map_err(|error| failed(directory, error))?;
    let links: Vec<_> = faces::names().into_iter().map(|name| directory.join(name)).collect();
    let is_foreign = |link: &&std::path::PathBuf| {
        std::fs::symlink_metadata(link).is_ok()
            && std::fs::read_link(link).ok().as_deref() != Some(&program)
    };
    if let Some(foreign) = links.iter().find(is_foreign) {
        return Err(Failure::Other {
            message: format!(
                "{} is there already and belongs to something else",
                foreign.display()
            ),
            help: Some("move it away, or link into another directory; nothing was linked".into()),
            exit: EXIT_DEGRADED,
        });
    }
    for link in &links {
        if std::fs::symlink_metadata(link).is_err() {
            std::os::unix::fs::symlink(&program, link).map_err(|error| failed(link, error))?;
        }
        context.output.print(&format!("{} -> {}\n", link.display(), program.display()))?;
    }
    Ok(0)
}

/// The main page, in roff.
pub(super) fn page() -> std::io::Result<String> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Arguments::command()).manual("Mainstay").render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

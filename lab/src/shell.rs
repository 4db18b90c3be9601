//! A shell in the lab: the cluster is up, and everything can be tried.

use std::ffi::OsString;
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use crate::client::Client;
use crate::control;
use crate::enter;
use crate::lab::Lab;

impl Lab {
    /// Opens a shell where the client is, with `MAINSTAY_LAB` set (so that `mainstay --node n2 …`
    /// finds the node's root) and the program in `PATH`, and carries out `mainstay lab …` from it.
    /// Returns its exit status; the lab ends with it.
    ///
    /// `words` is what to run; empty: the user's shell.
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn shell(self, words: &[String]) -> Result<i32> {
        let directory = self.directory().to_path_buf();
        let program = self.spec().program.clone();
        let listener = control::listen(&directory)?;
        let users = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
        let (shell, rest) = match words.split_first() {
            Some((program, rest)) => (program.clone(), rest),
            None => (users, &[][..]),
        };
        let mut path = program.parent().map(OsString::from).unwrap_or_default();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin:/sbin".into()));
        let mut command = Command::new(&shell);
        command.args(rest).env(control::VARIABLE, &directory).env("PATH", path);
        for variable in enter::PRIVATE {
            command.env_remove(variable);
        }
        let client = self.client().namespace_handle()?;
        let lab = Arc::new(Mutex::new(self));
        let served = Arc::clone(&lab);
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control::serve(&listener, &served))
            .context("starting the thread that listens to the shell")?;
        let worker = std::thread::spawn(move || {
            Client::enter_namespace(&client)?;
            command.status().with_context(|| format!("starting {shell}"))
        });
        let status = worker.join().expect("the waiting thread does not panic")?;
        Ok(status.code().unwrap_or(1))
    }
}

//! The least of QMP, QEMU's protocol for whoever runs it (docs/interop/qmp-spec.txt there): a line
//! of JSON each way; events may stand between a command and its answer.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long QEMU may take for an answer: it shares the processor with the machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a running QEMU.
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and agrees on the protocol.
    pub(super) fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("connect to QEMU")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        let greeting = qmp.read()?;
        greeting.get("QMP").context("QEMU does not greet as it should")?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Executes a command.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let order = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{order}").context("tell QEMU")?;
        loop {
            let answer = self.read()?;
            if let Some(found) = answer.get("return") {
                return Ok(found.clone());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {order}: {error}");
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).context("wait for QEMU's answer")?;
        if length == 0 {
            bail!("QEMU has closed its control socket");
        }
        serde_json::from_str(&line).context("QEMU's answer is not JSON")
    }
}

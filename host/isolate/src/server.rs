//! A server of the user's own, for as long as a command needs it. As whatever else is started it sits below a warden,
//! so that it ends with everything it started, however the command ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::isolate::{Channel, Operation};
use crate::{Error, ErrorKind};

/// How often the end of a server is looked for.
const PERIOD: Duration = Duration::from_millis(50);

/// The operation that runs a server until it is cancelled.
pub struct Serve;

/// A command of the shell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServeRequest {
    pub command: String,
}

impl Operation for Serve {
    const NAME: &'static str = "serve";
    const DRAINS: bool = false;
    type Request = ServeRequest;
    type Reply = ();
    type Event = ();

    fn subject(_: &ServeRequest) -> String {
        "the server".to_owned()
    }

    fn execute(request: ServeRequest, channel: &Channel<()>) -> Result<(), Error> {
        let failed = |what: String| Error::new(ErrorKind::Runtime, what, "");
        channel.phase("serve");
        let mut shell = Command::new("/bin/sh");
        let mut server = shell
            .args(["-c", &request.command])
            .process_group(0)
            .spawn()
            .map_err(|cause| failed(format!("/bin/sh: {cause}")))?;
        let group = Pid::from_child(&server);
        let mut asked = false;
        loop {
            match server.try_wait() {
                Ok(None) => {}
                Ok(Some(_)) if asked => return Ok(()),
                Ok(Some(status)) => return Err(failed(ended(status))),
                Err(cause) => return Err(failed(cause.to_string())),
            }
            if channel.is_cancelled() && !asked {
                asked = true;
                // Whoever does not heed it is killed by the warden.
                let _ = kill_process_group(group, Signal::TERM);
            }
            std::thread::sleep(PERIOD);
        }
    }
}

fn ended(status: ExitStatus) -> String {
    format!("it ended by itself, {status}")
}

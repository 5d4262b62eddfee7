//! A command under way, followed by what it says: tests wait for its words, and never for a time.

use std::io::{BufRead as _, BufReader};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::PATIENCE;

/// A command, and the lines of its standard error as they come.
pub struct Following {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Following {
    /// Starts a command. Its standard output is of no interest.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).split(b'\n');
        let (say, heard) = channel();
        // Reads to the end whether or not anybody listens: a full pipe would hold the command up.
        std::thread::spawn(move || {
            let text = lines.map_while(Result::ok).map(|line| String::from_utf8_lossy(&line).into_owned());
            text.for_each(|line| drop(say.send(line)));
        });
        Self { child, lines: heard, said: String::new() }
    }

    /// The next line; nothing once it says no more. One that talks on when what is waited for should long have
    /// come hangs as well.
    fn next_line(&mut self, since: Instant) -> Option<String> {
        use std::sync::mpsc::RecvTimeoutError::Timeout;
        let line = match self.lines.recv_timeout(PATIENCE.saturating_sub(since.elapsed())) {
            Err(Timeout) => panic!("nothing comes of it within {PATIENCE:?}, after:\n{}", self.said),
            line => line.ok()?,
        };
        self.said += &line;
        self.said.push('\n');
        Some(line)
    }

    /// Waits for a line that holds `part`, and returns it.
    ///
    /// # Panics
    /// When it ends without.
    pub fn until(&mut self, part: &str) -> String {
        let since = Instant::now();
        loop {
            match self.next_line(since) {
                Some(line) if line.contains(part) => return line,
                Some(_) => {}
                None => panic!("it ended and never said {part:?}:\n{}", self.said),
            }
        }
    }

    /// Waits for the end; the output holds all of standard error.
    pub fn end(mut self) -> Output {
        let since = Instant::now();
        while self.next_line(since).is_some() {}
        let status = self.child.wait().expect("it is ours");
        Output { status, stdout: Vec::new(), stderr: std::mem::take(&mut self.said).into_bytes() }
    }
}

impl Deref for Following {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Following {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

/// A test that fails leaves nothing running.
impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
